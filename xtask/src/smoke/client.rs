//! A client that can ask many things before it hears a word.

use std::{
    fmt::Display,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// For one answer.
const ANSWER: Duration = Duration::from_secs(5);

/// A connection for any number of GETs.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Connection {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        Ok(Self {
            stream: BufReader::new(stream),
            host: address,
        })
    }

    /// Asks for all `paths` at once (RFC 9112, 9.3.2).
    pub(super) fn ask<P: Display>(&mut self, paths: impl IntoIterator<Item = P>) -> io::Result<()> {
        let host = self.host;
        let request = |path: P| format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let requests: String = paths.into_iter().map(request).collect();
        self.stream.get_mut().write_all(requests.as_bytes())
    }

    /// The next answer, in the order in which was asked.
    pub(super) fn answer(&mut self) -> io::Result<Answer> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|it| it.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("the answer has no status"))?;
        let mut length = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
        }
        let length: usize = length.ok_or_else(|| io::Error::other("the answer has no length"))?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let body = String::from_utf8(body).map_err(io::Error::other)?;
        Ok(Answer { status, body })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}
