//! The page of one dish, made in three ways.

use std::{env, fs, net::SocketAddr, path::PathBuf, process, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::Path,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::get,
};
use ordering::{
    Config, Running,
    server::{Limits, Server},
    stack::Pages,
    store::{Dish, Store},
};
use resilience_core::Environment;
use tokio::net::TcpListener;

use super::Problem;

/// The whole service, as its users have it; only that all clients here have one address, and ask
/// for as much as there is.
pub(crate) async fn service(database: String) -> Result<(SocketAddr, Running), Problem> {
    let mut config = Config::new(ANY_PORT, database);
    config.requests_per_client = u32::MAX;
    config.requests_per_second = u32::MAX;
    let running = ordering::start(config).await?;
    Ok((running.address(), running))
}

/// A page that is there already.
pub(crate) async fn from_memory(database: String) -> Result<(SocketAddr, Server), Problem> {
    let store = store(&database).await?;
    // Each request has a handler of its own: it must not copy the menu.
    let pages: Arc<[Bytes]> = store.dishes().await?.iter().map(page).collect();
    store.close().await;
    let one = async move |Path(id): Path<usize>| match pages.get(id - 1) {
        Some(page) => answer(page.clone()),
        None => StatusCode::NOT_FOUND.into_response(),
    };
    serve(Router::new().route("/dishes/{id}", get(one))).await
}

/// A page that is made for each request.
pub(crate) async fn from_database(database: String) -> Result<(SocketAddr, Server), Problem> {
    let store = store(&database).await?;
    let one = async move |Path(id): Path<i64>| match store.dish(id).await {
        Ok(Some(dish)) => answer(page(&dish)),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    serve(Router::new().route("/dishes/{id}", get(one))).await
}

async fn store(database: &str) -> Result<Store, Problem> {
    Ok(Store::open(database, &Pages::new(None, &Environment::new())?).await?)
}

async fn serve(app: Router) -> Result<(SocketAddr, Server), Problem> {
    let listener = TcpListener::bind(ANY_PORT).await?;
    let server = Server::start(listener, app, Limits::default())?;
    Ok((server.address(), server))
}

fn page(dish: &Dish) -> Bytes {
    serde_json::to_vec(dish).unwrap_or_default().into()
}

fn answer(page: Bytes) -> Response {
    let mut response = page.into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// For the databases; goes away with the program, however that ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self, Problem> {
        let path = env::temp_dir().join(format!("ordering-load-{}", process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where the database `name` is.
    pub(crate) fn database(&self, name: &str) -> String {
        let file = self.0.join(name).join("ordering.db");
        format!("sqlite://{}", file.display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays with whatever else is temporary.
        let _ = fs::remove_dir_all(&self.0);
    }
}

const ANY_PORT: &str = "127.0.0.1:0";
