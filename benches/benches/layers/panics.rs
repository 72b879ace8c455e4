//! Panic recovery. The peer answers HTTP alone, and so does ours in the row beside it.

use benches::{BareHttp, Row, http, ours};
use criterion::Criterion;
use tower::Layer as _;
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) fn bench(criterion: &mut Criterion) {
    Row::ours("catch_panic").bench(criterion, ours::catch_panic);
    Row::ours("catch_panic_http").bench(criterion, ours::catch_panic_http);
    Row::of("catch_panic_http", "tower_http")
        .bench(criterion, || http(CatchPanicLayer::new().layer(BareHttp)));
}
