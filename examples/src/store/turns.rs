//! What only one of the gateways need do.

use std::time::Duration;

use resilience_redis::lock::Locks;
use tokio::time::sleep;

/// Does `work` again and again, while no other gateway does; until it fails.
pub(super) async fn take<F>(
    gateways: &Locks,
    name: &'static str,
    work: impl Fn() -> F,
) -> sqlx::Result<()>
where
    F: Future<Output = sqlx::Result<()>> + Send,
{
    loop {
        if let Ok(turn) = gateways.lock(name, PATIENCE).await {
            let working = async {
                loop {
                    if let Err(error) = work().await {
                        return error;
                    }
                }
            };
            match turn.run(working).await {
                Ok(error) => return Err(error),
                Err(loss) => tracing::info!(%loss, turn = name, "another gateway may go on"),
            }
        } else {
            // Redis is away, or another gateway is at it.
            sleep(SHORTEST_PAUSE).await;
        }
    }
}

/// A lock that is asked for is asked for four times a second.
const PATIENCE: Duration = Duration::from_secs(30);

const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
