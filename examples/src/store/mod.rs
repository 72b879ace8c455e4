//! Where dishes, orders and idempotency keys live.
//!
//! Everything that knows SQL is in this module. A statement that takes portions takes them only
//! where there are as many: whatever else is counted elsewhere, this decides.

mod agenda;
mod counted;
mod database;
mod kitchen;
mod menu;
mod orders;
mod place;
mod portions;
mod settle;
mod turns;

pub use self::{
    agenda::Agenda,
    database::Database,
    kitchen::Kitchen,
    menu::Dish,
    orders::{CancelReason, Line, Order, Status},
    place::{Key, NewOrder, Placed, Refusal},
    portions::Portions,
};
pub(crate) use self::{database::Use, kitchen::GROUP as KITCHEN_GROUP};

use std::{fmt, io, path::PathBuf};

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
    kitchen: Kitchen,
    agenda: Agenda,
    database: Database,
}

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not one of a database.
    #[error("the URL names no database: write `sqlite://FILE` or `postgres://USER@HOST/NAME`")]
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
    Dishes(#[source] sqlx::Error),
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
        let database = Database::at(url)?;
        database.make_room().await?;
        let [writer, readers] = database.open().await?;
        let statements = Statements::default();
        let store = Self {
            readers: Connections::new(readers, database.begin(), statements.clone()),
            writer: Connections::new(writer, database.begin(), statements.clone()),
            statements,
            pages: pages.clone(),
            portions: Portions::default(),
            kitchen: Kitchen::default(),
            agenda: Agenda::default(),
            database,
        };
        store.migrate().await?;
        store.list_dishes().await.map_err(OpenError::Dishes)?;
        Ok(store)
    }

    /// Has the portions counted ahead of the database, and what is paid cooked.
    #[must_use]
    pub fn shared(mut self, portions: Portions, kitchen: Kitchen) -> Self {
        self.portions = portions;
        self.kitchen = kitchen;
        self
    }

    /// Where it is.
    #[must_use]
    pub const fn database(&self) -> &Database {
        &self.database
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
    /// When it is not, or says so.
    pub async fn check(&self) -> Result<(), sqlx::Error> {
        self.database.is_there().await.map_err(sqlx::Error::Io)?;
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
        let database = &self.database;
        let version = database.version(&mut transaction).await?;
        if !(0..=2).contains(&version) {
            return Err(OpenError::Version(version));
        }
        if version < 1 {
            database.create(&mut transaction).await?;
            menu::seed(&mut transaction).await?;
        }
        if version < 2 {
            database.add_tickets(&mut transaction).await?;
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
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}
