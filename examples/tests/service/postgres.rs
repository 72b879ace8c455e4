//! Gateways over a PostgreSQL server of the tests' own.

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use http::{Request, StatusCode, header};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    client::{Shop, eventually, one, post, send_on},
    reaper,
};

/// A server on a free port of the loopback; killed when it is dropped.
pub(crate) struct Postgres {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Postgres {
    pub(crate) async fn start() -> Self {
        loop {
            let folder = tempfile::tempdir().unwrap();
            let user = user_of(folder.path());
            run(&user, "initdb", |command| {
                command
                    .args(["--no-sync", "--auth=trust", "--username=ordering"])
                    .args(["--encoding=UTF8", "--locale=C", "--pgdata"])
                    .arg(folder.path().join("data"))
            });
            let port = {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                listener.local_addr().unwrap().port()
            };
            let mut server = command(&user, "postgres");
            server
                .arg("-D")
                .arg(folder.path().join("data"))
                .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", ""])
                // What is lost with the machine was of no use to anybody.
                .args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
            let child = server.spawn().unwrap();
            reaper::watch(&child);
            let mut postgres = Self {
                child,
                port,
                _folder: folder,
            };
            // Else somebody took the port between our look and the server's.
            if postgres.answers().await {
                return postgres;
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://ordering@127.0.0.1:{}/postgres", self.port)
    }

    async fn answers(&mut self) -> bool {
        let url = self.url();
        let mut ended = false;
        eventually(async || {
            ended = self.child.try_wait().unwrap().is_some();
            ended || PgConnection::connect(&url).await.is_ok()
        })
        .await;
        !ended
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, and with all that it started: a server that is killed leaves them behind.
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &id]).status();
        let _ = self.child.wait();
        reaper::forget(&self.child);
    }
}

/// Who runs the server: nobody, where the tests are run by root, for whom it does not work.
struct User(Option<u32>);

fn user_of(folder: &Path) -> User {
    if fs::metadata(folder).unwrap().uid() != 0 {
        return User(None);
    }
    chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    User(Some(NOBODY))
}

fn command(User(user): &User, program: &str) -> Command {
    let mut command = Command::new(find(program));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/");
    if let Some(user) = *user {
        command.uid(user).gid(user);
    }
    command
}

fn run(user: &User, program: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) {
    let mut command = command(user, program);
    let output = arguments(&mut command).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}");
}

/// Debian keeps the programs of a server off the `PATH`.
fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    let mut programs = folders.iter().map(|folder| folder.join(program));
    programs
        .find(|program| program.is_file())
        .unwrap_or_else(|| panic!("`{program}` is missing (Debian: apt-get install postgresql)"))
}

/// What most systems call that user.
const NOBODY: u32 = 65_534;

/// Two gateways that know of each other only by their database.
async fn two_gateways() -> (Postgres, [Shop; 2]) {
    let postgres = Postgres::start().await;
    let open = async || {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Shop::open_in(folder, |config| config.database_url = postgres.url().into()).await
    };
    // At once: both find that there are no tables.
    let gateways = tokio::join!(open(), open());
    (postgres, gateways.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_over_one_database_sell_each_portion_once() {
    let (_postgres, gateways) = two_gateways().await;
    let mut buyers = JoinSet::new();
    for buyer in 0..200 {
        let address = gateways[buyer % 2].address();
        let mut items = [1, 2].map(|dish| json!({ "dish_id": dish, "quantity": 1 }));
        // Nobody waits for whoever waits for him.
        items.rotate_left(buyer / 2 % 2);
        let body = json!({ "user_id": format!("buyer-{buyer}"), "items": items }).to_string();
        buyers.spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            let request = Request::post("/orders").header(header::CONTENT_TYPE, "application/json");
            send_on(stream, request, body).await
        });
    }
    let answers = buyers.join_all().await;
    let with = |status| answers.iter().filter(move |answer| answer.status == status);
    let others = |answer: &&_| !matches!(status_of(answer), 201 | 409);
    let others: Vec<_> = answers.iter().filter(others).collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(with(StatusCode::CREATED).count(), 50);
    assert_eq!(with(StatusCode::CONFLICT).count(), 150);
    let ready = gateways[0].get("/health/ready").await;
    assert_eq!(ready.json()["unsettled_orders"], 0);
}

fn status_of(answer: &crate::client::Answer) -> u16 {
    answer.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_sent_to_all_gateways_at_once_orders_once() {
    let (_postgres, gateways) = two_gateways().await;
    for (key, body, status) in [
        ("bought", one("ada", 1), StatusCode::CREATED),
        ("unknown", one("ada", 9999), StatusCode::NOT_FOUND),
    ] {
        let mut sent = JoinSet::new();
        for turn in 0..20 {
            let (address, body) = (gateways[turn % 2].address(), body.clone());
            let headers = [("idempotency-key", key)];
            sent.spawn(async move { post(address, "/orders", &headers, &body).await });
        }
        let answers = sent.join_all().await;
        for answer in &answers {
            // One that came while another gateway had yet to pay is told that the order is kept.
            let is_kept = answer.status == StatusCode::SERVICE_UNAVAILABLE;
            assert!(is_kept || answer.status == status, "{answer:?}");
        }
    }
    let stock = gateways.each_ref().map(|shop| shop.stock(1));
    let [first, second] = stock;
    assert_eq!((first.await, second.await), (49, 49));
}

#[tokio::test(flavor = "multi_thread")]
async fn portions_of_a_declined_order_are_back_in_the_database() {
    let (_postgres, [shop, other]) = two_gateways().await;
    shop.fault("decline").await;
    let declined = shop.order(&one("ada", 1)).await;
    assert_eq!(declined.status, StatusCode::PAYMENT_REQUIRED);
    let sold = other.order(&one("ada", 1)).await;
    assert_eq!(sold.status, StatusCode::CREATED);
    assert_eq!(other.stock(1).await, 49);
    let path = format!("/orders/{}", sold.json()["order_id"].as_str().unwrap());
    assert_eq!(shop.get(&path).await.json()["status"], "paid");
    assert!(!format!("{:?}", shop.running).contains("ordering@"));
}
