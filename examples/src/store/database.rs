//! Which database it is, and all that is not the same in SQLite and in PostgreSQL.
//!
//! Every statement elsewhere is one that both understand.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use sqlx::{
    AnyPool, any::AnyPoolOptions, postgres::PgConnectOptions, sqlite::SqliteConnectOptions,
};

use super::{OpenError, counted::Transaction};

/// Where a database is.
#[derive(Clone, PartialEq, Eq)]
pub struct Database(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    /// One writer: all writes share one connection and wait for it in line. Reads have connections
    /// of their own, which write-ahead logging lets pass beside the writer.
    Sqlite(PathBuf),
    /// Any number of gateways, with as many connections each as do not crowd each other out.
    Postgres(String),
}

/// What a pool of connections is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Use {
    /// What must survive a power cut.
    Write,
    /// Reading alone.
    Read,
    /// What must survive the end of the process.
    Ledger,
}

impl Database {
    /// The one that `url` names, as in `sqlite://FILE` or `postgres://USER:PASSWORD@HOST/NAME`.
    ///
    /// # Errors
    ///
    /// [`OpenError::Url`].
    pub fn at(url: &str) -> Result<Self, OpenError> {
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return match PgConnectOptions::from_str(url) {
                Ok(_) => Ok(Self(Kind::Postgres(url.to_owned()))),
                Err(_) => Err(OpenError::Url),
            };
        }
        if !url.starts_with("sqlite:") || url.contains(":memory:") || url.contains("mode=memory") {
            return Err(OpenError::Url);
        }
        let options = SqliteConnectOptions::from_str(url).map_err(|_| OpenError::Url)?;
        let file = options.get_filename();
        if file.as_os_str().is_empty() {
            return Err(OpenError::Url);
        }
        Ok(Self(Kind::Sqlite(file.to_owned())))
    }

    /// Where the payment provider's stand-in keeps its ledger: beside the file, or in the same
    /// database, where it is the same for all gateways.
    #[must_use]
    pub fn ledger(&self) -> Self {
        match &self.0 {
            Kind::Sqlite(file) => Self(Kind::Sqlite(file.with_extension("payments.db"))),
            Kind::Postgres(_) => self.clone(),
        }
    }

    /// Makes the folder of a file.
    pub(super) async fn make_room(&self) -> Result<(), OpenError> {
        let Kind::Sqlite(file) = &self.0 else {
            return Ok(());
        };
        let folder = file.parent().unwrap_or_else(|| Path::new("."));
        let made = tokio::fs::create_dir_all(folder).await;
        made.map_err(|source| OpenError::Folder {
            folder: folder.to_owned(),
            source,
        })
    }

    /// For writing, and for reading.
    pub(super) async fn open(&self) -> sqlx::Result<[AnyPool; 2]> {
        let writer = self.connect(Use::Write).await?;
        let readers = match &self.0 {
            Kind::Sqlite(_) => self.connect(Use::Read).await?,
            Kind::Postgres(_) => writer.clone(),
        };
        Ok([writer, readers])
    }

    /// A pool of connections, none of which is closed for its age.
    pub(crate) async fn connect(&self, purpose: Use) -> sqlx::Result<AnyPool> {
        sqlx::any::install_default_drivers();
        let pool = AnyPoolOptions::new()
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None);
        match &self.0 {
            Kind::Postgres(url) => pool.max_connections(CONNECTIONS).connect(url).await,
            Kind::Sqlite(file) => {
                let (connections, settings) = match purpose {
                    Use::Write => (1, "PRAGMA synchronous = FULL"),
                    Use::Read => (READERS, "PRAGMA query_only = ON"),
                    Use::Ledger => (1, "PRAGMA synchronous = NORMAL"),
                };
                pool.max_connections(connections)
                    .after_connect(move |connection, _| {
                        Box::pin(async move {
                            for settings in [SQLITE_SETTINGS, settings] {
                                sqlx::raw_sql(settings).execute(&mut *connection).await?;
                            }
                            Ok(())
                        })
                    })
                    .connect(&url_of(file)?)
                    .await
            }
        }
    }

    /// How a transaction that writes begins.
    ///
    /// In SQLite one that reads first and writes later would fail where another process wrote in
    /// between; one that starts as a writer waits its turn instead. In PostgreSQL rows are waited
    /// for, and each statement sees what was committed before it.
    pub(super) const fn begin(&self) -> &'static str {
        match &self.0 {
            Kind::Sqlite(_) => "BEGIN IMMEDIATE",
            Kind::Postgres(_) => "BEGIN ISOLATION LEVEL READ COMMITTED",
        }
    }

    /// The version of the schema that is there; 0 where there is none. Nobody else changes it until
    /// `transaction` is over.
    pub(super) async fn version(&self, transaction: &mut Transaction) -> sqlx::Result<i64> {
        let question = match &self.0 {
            Kind::Sqlite(_) => "PRAGMA user_version",
            Kind::Postgres(_) => {
                // Two that make the same table at once would both fail.
                for statement in [ONE_AT_A_TIME, VERSION_TABLE] {
                    sqlx::raw_sql(statement).execute(transaction.then()).await?;
                }
                "SELECT coalesce(max(version), 0) FROM schema_version"
            }
        };
        sqlx::query_scalar(question)
            .fetch_one(transaction.then())
            .await
    }

    /// Makes the tables of version 1.
    pub(super) async fn create(&self, transaction: &mut Transaction) -> sqlx::Result<()> {
        let schema = match &self.0 {
            Kind::Sqlite(_) => include_str!("schema.sqlite.sql"),
            Kind::Postgres(_) => include_str!("schema.postgres.sql"),
        };
        sqlx::raw_sql(schema).execute(transaction.then()).await?;
        Ok(())
    }

    /// Makes the tables of version 2.
    pub(super) async fn add_tickets(&self, transaction: &mut Transaction) -> sqlx::Result<()> {
        let version = match &self.0 {
            Kind::Sqlite(_) => "PRAGMA user_version = 2",
            Kind::Postgres(_) => "INSERT INTO schema_version (version) VALUES (2)",
        };
        for script in [include_str!("schema.v2.sql"), version] {
            sqlx::raw_sql(script).execute(transaction.then()).await?;
        }
        Ok(())
    }

    /// Whether it is where it was: a deleted file still answers through connections that are open.
    pub(super) async fn is_there(&self) -> io::Result<()> {
        match &self.0 {
            Kind::Sqlite(file) => tokio::fs::metadata(file).await.map(drop),
            Kind::Postgres(_) => Ok(()),
        }
    }
}

/// Without a password.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Sqlite(file) => file.display().fmt(f),
            Kind::Postgres(url) => {
                let options = PgConnectOptions::from_str(url).unwrap_or_default();
                let (host, port) = (options.get_host(), options.get_port());
                let name = options.get_database().unwrap_or_default();
                write!(f, "postgres://{host}:{port}/{name}")
            }
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The URL of a file, which is made where it is not there yet.
fn url_of(file: &Path) -> sqlx::Result<String> {
    let path = std::path::absolute(file)?;
    let mut path = path.display().to_string();
    for (mark, code) in [("%", "%25"), ("?", "%3F"), ("#", "%23")] {
        path = path.replace(mark, code);
    }
    Ok(format!("sqlite://{path}?mode=rwc"))
}

const SQLITE_SETTINGS: &str = "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; \
    PRAGMA journal_mode = WAL";

/// The number is ours alone in the database.
const ONE_AT_A_TIME: &str = "SELECT 1 FROM pg_advisory_xact_lock(6021771408)";
const VERSION_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)";

/// Readers are for pages and questions; half of them may be at work on pages.
const READERS: u32 = 8;

/// Of a hundred that a server grants, for each gateway.
const CONNECTIONS: u32 = 16;

/// The longest wait for a connection, and for another process that has the file: on a disk that
/// takes 30 ms for a commit, the last of the 64 orders under way has its turn after 4 s.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
