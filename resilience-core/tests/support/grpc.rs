//! A gRPC service and its client, written by hand where a generator would do.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::uri::PathAndQuery;
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, ServerStreamingService, UnaryService},
};
use tonic_prost::ProstCodec;
use tower::Service;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// `Say` answers with what it was told; `Stream` answers with it once and then ends with a status
/// in the trailers. A text that is a number ends with that code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = Grpc::new(ProstCodec::<String, String>::default());
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/test.Echo/Say" => grpc.unary(Self, request).await,
                "/test.Echo/Stream" => grpc.server_streaming(Self, request).await,
                _ => Status::unimplemented("").into_http(),
            })
        })
    }
}

fn verdict(text: &str) -> Result<(), Status> {
    match text.parse() {
        Ok(0) | Err(_) => Ok(()),
        Ok(code) => Err(Status::new(Code::from_i32(code), "as told")),
    }
}

impl UnaryService<String> for Echo {
    type Response = String;
    type Future = Boxed<Result<Response<String>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let text = request.into_inner();
        Box::pin(async move { verdict(&text).map(|()| Response::new(text)) })
    }
}

impl ServerStreamingService<String> for Echo {
    type Response = String;
    type ResponseStream = Once;
    type Future = Boxed<Result<Response<Once>, Status>>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let text = request.into_inner();
        let end = verdict(&text).err().map(Err);
        let items = [Some(Ok(text)), end].into_iter().flatten();
        Box::pin(async move { Ok(Response::new(Once(items.collect::<Vec<_>>().into_iter()))) })
    }
}

/// A message, then perhaps an error.
pub(crate) struct Once(std::vec::IntoIter<Result<String, Status>>);

impl futures_core::Stream for Once {
    type Item = Result<String, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next())
    }
}

/// Calls `Say` through anything that can carry gRPC.
pub(crate) async fn say<T>(service: T, text: &str) -> Result<String, Status>
where
    T: tonic::client::GrpcService<Body>,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<resilience_core::BoxError>,
{
    let mut client = tonic::client::Grpc::new(service);
    client
        .ready()
        .await
        .map_err(|error| Status::from_error(error.into()))?;
    let codec = ProstCodec::<String, String>::default();
    let path = PathAndQuery::from_static("/test.Echo/Say");
    let answer = client.unary(Request::new(text.into()), path, codec).await?;
    Ok(answer.into_inner())
}

/// Calls `Stream` and reads it to its end.
pub(crate) async fn stream<T>(service: T, text: &str) -> Result<Vec<String>, Status>
where
    T: tonic::client::GrpcService<Body>,
    T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<resilience_core::BoxError> + Send,
{
    let mut client = tonic::client::Grpc::new(service);
    client
        .ready()
        .await
        .map_err(|error| Status::from_error(error.into()))?;
    let codec = ProstCodec::<String, String>::default();
    let path = PathAndQuery::from_static("/test.Echo/Stream");
    let answer = client
        .server_streaming(Request::new(text.into()), path, codec)
        .await?;
    let mut answers = answer.into_inner();
    let mut all = Vec::new();
    while let Some(message) = answers.message().await? {
        all.push(message);
    }
    Ok(all)
}
