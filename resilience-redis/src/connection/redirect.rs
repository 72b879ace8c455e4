//! Following a server that says that a command belongs elsewhere, and so did not run it.

use std::{iter::successors, time::Duration};

use redis::{Cmd, Pipeline, RedisResult, ServerError, ServerErrorKind, Value};
use tokio::time::sleep;

use super::{Address, Wire, flow::Flow, slots::named};

/// Where a command belongs that was not run.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Redirection {
    /// There, from now on.
    Moved(Address),
    /// There, this once: the slot is being moved.
    Ask(Address),
    /// Here, when the keys of the command are together again.
    TryAgain,
}

impl Redirection {
    fn of(reply: &Value, asked: &Address) -> Option<Self> {
        let Value::ServerError(error) = reply else {
            return None;
        };
        match error.kind()? {
            ServerErrorKind::Moved => target(error, asked).map(Self::Moved),
            ServerErrorKind::Ask => target(error, asked).map(Self::Ask),
            ServerErrorKind::TryAgain => Some(Self::TryAgain),
            _ => None,
        }
    }
}

impl Wire {
    /// Sends each of `commands` that was not run to where it belongs, and puts the reply in place
    /// of the refusal.
    ///
    /// It ends with the deadline of the request. What goes round in circles keeps its refusal, and so
    /// does what waits for keys that do not come together soon: while a slot is being moved, a call of
    /// several keys of which one does not exist is refused until all have arrived, which may take
    /// minutes. It did not run, and that is worth more to know than that time is up.
    pub(super) async fn follow(&self, commands: &[&Cmd], replies: &mut [Value]) -> RedisResult<()> {
        let Some(guide) = self.node.guide() else {
            return Ok(());
        };
        let misplaced = |(index, reply)| Some((index, Redirection::of(reply, &self.flow.address)?));
        let mut misplaced: Vec<_> = replies.iter().enumerate().filter_map(misplaced).collect();
        let (mut hops, mut pauses) = (0, pauses(self.patience / 4));
        while let Some((_, redirection)) = misplaced.first().cloned()
            && hops < MOST_HOPS
        {
            let node = match &redirection {
                Redirection::Moved(address) | Redirection::Ask(address) => {
                    hops += 1;
                    guide.node_at(address)
                }
                Redirection::TryAgain => {
                    let Some(pause) = pauses.next() else {
                        break;
                    };
                    sleep(pause).await;
                    Some(self.node.clone())
                }
            };
            let Some(node) = node else {
                break;
            };
            let flow = node.connected().await;
            let together: Vec<_> = misplaced
                .extract_if(.., |(_, other)| *other == redirection)
                .map(|(index, _)| index)
                .collect();
            let resent = together.iter().map(|index| commands[*index]);
            let asking = matches!(redirection, Redirection::Ask(_));
            let answers = send(&flow, resent, asking).await;
            let answers = answers.inspect_err(|error| node.doubt(&flow, error))?;
            for (index, answer) in together.into_iter().zip(answers) {
                node.hear(&flow, &answer);
                if let Some(further) = Redirection::of(&answer, &flow.address) {
                    misplaced.push((index, further));
                }
                replies[index] = answer;
            }
        }
        Ok(())
    }
}

async fn send(
    flow: &Flow,
    commands: impl Iterator<Item = &Cmd>,
    asking: bool,
) -> RedisResult<Vec<Value>> {
    let mut pipeline = Pipeline::new();
    for command in commands {
        if asking {
            pipeline.cmd("ASKING");
        }
        pipeline.add_command(command.clone());
    }
    let mut connection = flow.connection.clone();
    let replies = connection
        .send_packed_commands(&pipeline, 0, pipeline.len())
        .await?
        .into_iter();
    Ok(if asking {
        replies.skip(1).step_by(2).collect()
    } else {
        replies.collect()
    })
}

fn target(error: &ServerError, asked: &Address) -> Option<Address> {
    // As in `MOVED 3999 127.0.0.1:6381`; an IPv6 address has colons of its own.
    let (_slot, address) = error.details()?.split_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    named(host, port.parse().ok()?, asked)
}

/// How long to wait before each further attempt, while keys are on their way: they arrive one by one.
/// All pauses together end within `patience`.
fn pauses(patience: Duration) -> impl Iterator<Item = Duration> {
    let longest = LONGEST_PAUSES.min(patience);
    let pauses = successors(Some(SHORTEST_PAUSE), |pause| Some(*pause * 2));
    pauses.scan(Duration::ZERO, move |paused, pause| {
        *paused += pause;
        (*paused <= longest).then_some(pause)
    })
}

/// A batch can be scattered over a few servers, and each redirected once more; where it takes more
/// they do not agree yet.
const MOST_HOPS: u32 = 16;
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// Pauses of 1 to 32 ms together: as long as it takes to move the few keys of one name.
const LONGEST_PAUSES: Duration = Duration::from_millis(63);

#[cfg(test)]
mod tests {
    use super::*;

    fn redirection(error: &str) -> Option<Redirection> {
        let reply = redis::parse_redis_value(format!("-{error}\r\n").as_bytes());
        Redirection::of(&reply.expect("a reply"), &Address::tcp("asked", 1))
    }

    #[test]
    fn a_refusal_says_where_a_command_belongs() {
        for (error, expected) in [
            (
                "MOVED 3999 10.0.0.1:7",
                Some(Redirection::Moved(Address::tcp("10.0.0.1", 7))),
            ),
            (
                "MOVED 3999 ::1:7",
                Some(Redirection::Moved(Address::tcp("::1", 7))),
            ),
            (
                "MOVED 3999 :7",
                Some(Redirection::Moved(Address::tcp("asked", 7))),
            ),
            (
                "ASK 3999 host:65535",
                Some(Redirection::Ask(Address::tcp("host", 65535))),
            ),
            (
                "TRYAGAIN Multiple keys request",
                Some(Redirection::TryAgain),
            ),
            ("MOVED 3999 host:65536", None),
            ("MOVED 3999 host", None),
            ("MOVED", None),
            ("ERR MOVED 3999 host:1", None),
        ] {
            assert_eq!(redirection(error), expected, "{error}");
        }
        assert_eq!(
            Redirection::of(&Value::Nil, &Address::tcp("asked", 1)),
            None
        );
    }

    #[test]
    fn keys_that_are_apart_are_waited_for_a_few_times_and_for_a_part_of_the_time() {
        let pauses = |patience| {
            let pauses = pauses(Duration::from_millis(patience));
            pauses.map(|it| it.as_millis()).collect::<Vec<_>>()
        };
        assert!(pauses(0).is_empty());
        assert_eq!(pauses(2), [1]);
        assert_eq!(pauses(62), [1, 2, 4, 8, 16]);
        assert_eq!(pauses(5000), [1, 2, 4, 8, 16, 32]);
    }
}
