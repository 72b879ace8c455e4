//! A cluster of three owners with a replica each.

use super::{RedisServer, eventually, server::USER};

/// Six servers: three owners of a third of the slots each, then a replica of each.
pub(crate) struct RedisCluster {
    pub(crate) members: Vec<RedisServer>,
}

impl RedisCluster {
    /// A cluster in which everybody knows everybody.
    pub(crate) async fn start() -> Self {
        let mut members = Vec::new();
        for _ in 0..2 * OWNERS {
            members.push(RedisServer::start_with(&ARGUMENTS).await);
        }
        let cluster = Self { members };
        for (index, owner) in cluster.owners().iter().enumerate() {
            let first = index * SLOTS / OWNERS;
            let last = (index + 1) * SLOTS / OWNERS;
            let slots: Vec<String> = (first..last).map(|slot| slot.to_string()).collect();
            owner
                .tell(&format!("CLUSTER ADDSLOTS {}", slots.join(" ")))
                .await;
        }
        for (index, member) in cluster.members.iter().enumerate() {
            member
                .tell(&format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1))
                .await;
        }
        let first = &cluster.members[0];
        for other in &cluster.members[1..] {
            other
                .tell(&format!("CLUSTER MEET 127.0.0.1 {}", first.port()))
                .await;
        }
        for member in &cluster.members {
            eventually(async || {
                let nodes: String = member.ask("CLUSTER NODES").await;
                let known = nodes.lines().filter(|line| !line.contains("handshake"));
                (known.count() == 2 * OWNERS).then_some(())
            })
            .await;
        }
        for (owner, replica) in cluster.owners().iter().zip(&cluster.members[OWNERS..]) {
            let id: String = owner.ask("CLUSTER MYID").await;
            replica.tell(&format!("CLUSTER REPLICATE {id}")).await;
        }
        cluster.settles().await;
        cluster
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.members[..2]
            .iter()
            .map(|member| format!("127.0.0.1:{}", member.port()))
            .collect();
        format!("redis-cluster://{USER}:{USER}@{}", hosts.join(","))
    }

    /// Adds a member that owns nothing yet, once everybody knows it; returns its index.
    pub(crate) async fn grow(&mut self) -> usize {
        let newcomer = RedisServer::start_with(&ARGUMENTS).await;
        let port = self.members[0].port();
        newcomer
            .tell(&format!("CLUSTER MEET 127.0.0.1 {port}"))
            .await;
        self.members.push(newcomer);
        for member in &self.members {
            eventually(async || {
                let nodes: String = member.ask("CLUSTER NODES").await;
                let known = nodes.lines().filter(|line| !line.contains("handshake"));
                let info: String = member.ask("CLUSTER INFO").await;
                let serves = info.contains("cluster_state:ok");
                (serves && known.count() == self.members.len()).then_some(())
            })
            .await;
        }
        self.members.len() - 1
    }

    /// Those who own slots as the cluster begins.
    pub(crate) fn owners(&self) -> &[RedisServer] {
        &self.members[..OWNERS]
    }

    /// The replica of one of [`owners`](Self::owners).
    pub(crate) fn replica_of(&self, owner: usize) -> &RedisServer {
        &self.members[OWNERS + owner]
    }

    /// Which of [`owners`](Self::owners) has `key`.
    pub(crate) async fn owner_of(&self, key: &str) -> usize {
        let slot: usize = self.members[0].ask(&format!("CLUSTER KEYSLOT {key}")).await;
        let begins_before = |owner: &usize| owner * SLOTS / OWNERS <= slot;
        (0..OWNERS).rfind(begins_before).expect("the first is 0")
    }

    /// Begins to move the slot of `key` from one member to another: keys that are not there any
    /// more are asked for at the other.
    pub(crate) async fn begin_to_move(&self, key: &str, from: usize, to: usize) {
        let (from, to) = (&self.members[from], &self.members[to]);
        let slot: u16 = from.ask(&format!("CLUSTER KEYSLOT {key}")).await;
        let id = async |member: &RedisServer| member.ask::<String>("CLUSTER MYID").await;
        to.tell(&format!(
            "CLUSTER SETSLOT {slot} IMPORTING {}",
            id(from).await
        ))
        .await;
        from.tell(&format!(
            "CLUSTER SETSLOT {slot} MIGRATING {}",
            id(to).await
        ))
        .await;
    }

    /// Moves one key of a slot that is being moved.
    pub(crate) async fn move_key(&self, key: &str, from: usize, to: usize) {
        let port = self.members[to].port();
        self.members[from]
            .tell(&format!("MIGRATE 127.0.0.1 {port} {key} 0 5000"))
            .await;
    }

    /// Ends the move of the slot of `key`, all of whose keys have been moved.
    pub(crate) async fn end_move(&self, key: &str, from: usize, to: usize) {
        let slot: u16 = self.members[to]
            .ask(&format!("CLUSTER KEYSLOT {key}"))
            .await;
        let id: String = self.members[to].ask("CLUSTER MYID").await;
        for member in [to, from] {
            self.members[member]
                .tell(&format!("CLUSTER SETSLOT {slot} NODE {id}"))
                .await;
        }
    }

    /// Waits until all members serve and every replica has its owner's data.
    async fn settles(&self) {
        for member in &self.members {
            eventually(async || {
                let info: String = member.ask("CLUSTER INFO").await;
                let nodes: String = member.ask("CLUSTER NODES").await;
                let replicas = nodes.lines().filter(|line| line.contains("slave"));
                (info.contains("cluster_state:ok") && replicas.count() == OWNERS).then_some(())
            })
            .await;
        }
        for replica in &self.members[OWNERS..] {
            eventually(async || {
                let info: String = replica.ask("INFO replication").await;
                info.contains("master_link_status:up").then_some(())
            })
            .await;
        }
    }
}

const OWNERS: usize = 3;
const SLOTS: usize = 16384;
const ARGUMENTS: [&str; 8] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "2000",
    // Else a replica that has just begun is not good enough to take over.
    "--cluster-replica-validity-factor",
    "0",
    "--repl-diskless-sync-delay",
    "0",
];
