use std::hint::black_box;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Empty};
use tower::{Service, ServiceExt as _};

use crate::{Subject, call, now, subject::STRIDE};

/// A service around [`BareHttp`](crate::BareHttp): a call ends with the end of its answer's body.
#[derive(Debug)]
pub struct Http<S> {
    service: S,
    addresses: Box<[Uri]>,
}

/// `service`, which answers requests for a hundred pages.
///
/// # Panics
///
/// Never: the pages' addresses are valid.
pub fn http<S, B>(service: S) -> Http<S>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>> + Clone + Sync,
    B: http_body::Body,
{
    let address = |page| format!("http://localhost/dishes/{page}").parse();
    Http {
        service,
        addresses: (0..PAGES)
            .map(|page| address(page).expect("an address"))
            .collect(),
    }
}

impl<S, B> Http<S>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>> + Clone + Sync,
    B: http_body::Body,
{
    /// Asks for each page once, inside of a runtime, which a page may need that is not there yet.
    ///
    /// # Panics
    ///
    /// Where there is no answer.
    pub async fn load(&self) {
        for address in &*self.addresses {
            let mut request = Request::new(Empty::new());
            *request.uri_mut() = address.clone();
            let answer = self.service.clone().oneshot(request).await;
            let Ok(answer) = answer else {
                panic!("no answer")
            };
            assert!(answer.into_body().collect().await.is_ok());
        }
    }
}

impl<S, B> Subject for Http<S>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>> + Clone + Sync,
    B: http_body::Body,
{
    #[inline]
    fn calls(&self, caller: u64, number: u64) {
        let mut service = self.service.clone();
        let mut addresses = self.addresses.iter().cycle();
        let skip = usize::try_from(caller * STRIDE % PAGES).unwrap_or_default();
        let mut next = || addresses.next().cloned().unwrap_or_default();
        (0..skip).for_each(|_| drop(next()));
        for _ in 0..number {
            let mut request = Request::new(Empty::new());
            *request.uri_mut() = next();
            let answer = call(&mut service, black_box(request));
            let Ok(answer) = answer else {
                panic!("no answer")
            };
            assert!(answer.status().is_success(), "{}", answer.status());
            assert!(now(answer.into_body().collect()).is_ok());
        }
    }
}

/// How many addresses are asked for.
const PAGES: u64 = 100;
