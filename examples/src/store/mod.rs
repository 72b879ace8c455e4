//! Where dishes, orders and idempotency keys live.
//!
//! Everything that knows SQL is in this module. SQLite has one writer: all writes share one
//! connection and wait for it in line, so that two hundred buyers at once see a queue and never a
//! "database is locked". Reads have connections of their own, which write-ahead logging lets pass
//! beside the writer.

mod agenda;
mod counted;
mod menu;
mod orders;
mod place;
mod portions;
mod settle;

pub use self::{
    agenda::Agenda,
    menu::Dish,
    orders::{CancelReason, Line, Order, Status},
    place::{Key, Placed, Refusal},
    portions::Portions,
};

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use resilience_core::bloom_guard::RebuildError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use self::counted::{Connections, Statements, Transaction};
use crate::stack::Pages;

/// The database; clones share its connections.
#[derive(Clone)]
pub struct Store {
    readers: Connections,
    writer: Connections,
    statements: Statements,
    pages: Pages,
    portions: Portions,
    agenda: Agenda,
    path: PathBuf,
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not one of a SQLite file.
    #[error("the URL names no SQLite file: write `sqlite://FILE`")]
    Url,
    /// The folder could not be made.
    #[error("cannot create the folder `{folder}`: {source}", folder = .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file was written by a later version of this program.
    #[error("the database has schema version {0}, which this program does not know")]
    Version(i64),
    /// The guard of the dishes' pages could not be told which there are.
    #[error("cannot list the dishes: {0}")]
    Dishes(#[from] RebuildError<sqlx::Error>),
    /// The database said no.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl Store {
    /// Opens the database at `url`; creates, migrates and fills it where that is still to be done.
    ///
    /// It tells `pages` which dishes there are, and of everything that changes one.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(url: &str, pages: &Pages) -> Result<Self, OpenError> {
        let path = file_of(url)?;
        if let Some(folder) = path.parent() {
            let made = tokio::fs::create_dir_all(folder).await;
            made.map_err(|source| OpenError::Folder {
                folder: folder.to_owned(),
                source,
            })?;
        }
        // An order that was answered survives a power cut.
        let options = connect_options(&path).synchronous(SqliteSynchronous::Full);
        let writer = pool(1).connect_with(options.clone()).await?;
        let readers = pool(READERS).connect_with(options.read_only(true)).await?;
        let statements = Statements::default();
        let store = Self {
            readers: Connections::new(readers, statements.clone()),
            writer: Connections::new(writer, statements.clone()),
            statements,
            pages: pages.clone(),
            portions: Portions::default(),
            agenda: Agenda::default(),
            path,
        };
        store.migrate().await?;
        store.list_dishes().await?;
        Ok(store)
    }

    /// Has the portions counted ahead of the database.
    #[must_use]
    pub fn with_portions(mut self, portions: Portions) -> Self {
        self.portions = portions;
        self
    }

    /// The database's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Statements that were sent to the database since it was opened; the settings of a connection
    /// are none of them.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements.sent()
    }

    /// Whether the database is there and answers.
    ///
    /// # Errors
    ///
    /// A deleted file still answers through the connections that are open: it is looked for first.
    pub async fn check(&self) -> Result<(), sqlx::Error> {
        tokio::fs::metadata(&self.path)
            .await
            .map_err(sqlx::Error::Io)?;
        sqlx::query("SELECT 1 FROM dishes LIMIT 1")
            .execute(self.readers.any())
            .await?;
        Ok(())
    }

    /// Closes all connections, once they are free.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn migrate(&self) -> Result<(), OpenError> {
        let mut transaction = self.writer.begin().await?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version")
            .fetch_one(transaction.then())
            .await?;
        match version {
            0 => {
                sqlx::raw_sql(include_str!("schema.sql"))
                    .execute(transaction.then())
                    .await?;
                menu::seed(&mut transaction).await?;
                sqlx::raw_sql("PRAGMA user_version = 1")
                    .execute(transaction.then())
                    .await?;
            }
            1 => {}
            unknown => return Err(OpenError::Version(unknown)),
        }
        transaction.commit().await?;
        Ok(())
    }

    /// When orders are due that were placed or put off here, also those whose clients are gone.
    #[must_use]
    pub const fn agenda(&self) -> &Agenda {
        &self.agenda
    }

    /// Commits what changed `dishes`, and voids their pages before anybody is told. Notes when the
    /// settlement has to look, where it has to.
    ///
    /// In a task of its own: a client that goes away meanwhile would leave a page that offers
    /// portions which are sold, and an order of which the settlement does not know.
    async fn commit(
        &self,
        transaction: Transaction,
        dishes: impl IntoIterator<Item = i64>,
        due_at: Option<i64>,
    ) -> sqlx::Result<()> {
        let (pages, agenda) = (self.pages.clone(), self.agenda.clone());
        let dishes: Vec<_> = dishes.into_iter().collect();
        let committing = tokio::spawn(async move {
            let committed = transaction.commit().await;
            // Where that failed, too: nobody knows how far it came.
            pages.void(&dishes).await;
            // Not ahead of it: a settlement that looks too early finds nothing, and forgets this.
            due_at.into_iter().for_each(|due_at| agenda.note(due_at));
            committed
        });
        // Only a runtime that goes down takes the task along.
        committing.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The file that `url` names.
fn file_of(url: &str) -> Result<PathBuf, OpenError> {
    if !url.starts_with("sqlite:") || url.contains(":memory:") || url.contains("mode=memory") {
        return Err(OpenError::Url);
    }
    let options = SqliteConnectOptions::from_str(url).map_err(|_| OpenError::Url)?;
    let path = options.get_filename();
    if path.as_os_str().is_empty() {
        return Err(OpenError::Url);
    }
    Ok(path.to_owned())
}

/// How every SQLite file of this program is opened.
pub(crate) fn connect_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(ACQUIRE_TIMEOUT)
}

/// A pool of at most `connections`, none of which is closed for its age.
pub(crate) fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
}

const READERS: u32 = 8;

/// The longest wait for a connection, and for another process that has the file: on a disk that
/// takes 30 ms for a commit, the last of the 64 orders under way has its turn after 4 s.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
