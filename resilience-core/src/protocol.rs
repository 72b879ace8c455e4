//! HTTP, gRPC, and gRPC for browsers, told apart.

use http::{HeaderMap, header::CONTENT_TYPE};

/// What the sender of a message speaks: one byte, told by its `content-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Grpc,
    /// gRPC as browsers speak it, whose trailers are part of the body.
    GrpcWeb,
}

impl Protocol {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let Some(media_type) = headers.get(CONTENT_TYPE) else {
            return Self::Http;
        };
        match subtype_of_grpc(media_type.as_bytes()) {
            // Parameters and the encoding of messages do not matter.
            Some([] | [b'+' | b';' | b' ', ..]) => Self::Grpc,
            Some([b'-', ..]) => Self::GrpcWeb,
            Some(_) | None => Self::Http,
        }
    }
}

/// What follows `application/grpc`, in whatever case that is written.
fn subtype_of_grpc(media_type: &[u8]) -> Option<&[u8]> {
    const GRPC: &[u8] = b"application/grpc";
    let (start, rest) = media_type.split_at_checked(GRPC.len())?;
    start.eq_ignore_ascii_case(GRPC).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_tells_who_speaks() {
        for (value, protocol) in [
            ("application/json", Protocol::Http),
            ("application/grpc", Protocol::Grpc),
            ("application/grpc+proto", Protocol::Grpc),
            ("Application/gRPC; charset=utf-8", Protocol::Grpc),
            ("application/grpc-web", Protocol::GrpcWeb),
            ("application/grpc-web-text+proto", Protocol::GrpcWeb),
            ("application/grpcurl", Protocol::Http),
            ("application/grp", Protocol::Http),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(Protocol::of(&headers), protocol, "{value}");
        }
        assert_eq!(Protocol::of(&HeaderMap::new()), Protocol::Http);
    }
}
