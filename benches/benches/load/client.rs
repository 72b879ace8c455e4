//! Clients that do as little as they can: the core they have is to be enough for them.

use std::{
    cell::RefCell, collections::VecDeque, net::SocketAddr, ops::Range, rc::Rc, time::Duration,
};

use hdrhistogram::Histogram;
use resilience_core::{Clock, Timestamp};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    task::{LocalSet, yield_now},
};

use super::Problem;

/// Requests for counting what they take.
pub(crate) const SOME: u32 = 1_000;

/// At a time: enough to keep a server busy, each of whose cores needs a few at least.
const CONNECTIONS: usize = 32;

pub(crate) struct Clients {
    address: SocketAddr,
}

impl Clients {
    pub(crate) const fn of(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Answers a second, each connection asking again at once, for the time `length`.
    pub(crate) async fn as_many_as_possible(&self, length: Duration) -> Result<f64, Problem> {
        let clock = Clock::system();
        let mut connections = self.connect().await?;
        let begun = clock.now();
        let end = begun.saturating_add(length);
        let answers = Rc::new(RefCell::new(0_u32));
        let local = LocalSet::new();
        let asking: Vec<_> = connections
            .drain(..)
            .map(|mut connection| {
                let (clock, answers) = (clock.clone(), answers.clone());
                local.spawn_local(async move {
                    while clock.now() < end {
                        connection.ask().await?;
                        *answers.borrow_mut() += 1;
                    }
                    Ok::<_, Problem>(())
                })
            })
            .collect();
        let all = local.run_until(async {
            for asking in asking {
                asking.await??;
            }
            Ok::<_, Problem>(clock.now().saturating_since(begun))
        });
        let taken = all.await?;
        Ok(f64::from(*answers.borrow()) / taken.as_secs_f64())
    }

    /// Nanoseconds from when each request was due to the end of its answer, at `per_second`.
    pub(crate) async fn by_timetable(
        &self,
        per_second: f64,
        length: Duration,
    ) -> Result<Histogram<u64>, Problem> {
        let clock = Clock::system();
        let due: Rc<RefCell<VecDeque<Timestamp>>> = Rc::default();
        let ready = Rc::new(Semaphore::new(0));
        let latencies = Rc::new(RefCell::new(Histogram::new_with_max(MINUTE, 3)?));
        let local = LocalSet::new();
        let mut asking = Vec::new();
        for mut connection in self.connect().await? {
            let (clock, due, ready) = (clock.clone(), due.clone(), ready.clone());
            let latencies = latencies.clone();
            asking.push(local.spawn_local(async move {
                while let Ok(permit) = ready.acquire().await {
                    permit.forget();
                    let Some(at) = due.borrow_mut().pop_front() else {
                        break;
                    };
                    connection.ask().await?;
                    let latency = clock.now().saturating_since(at).as_nanos();
                    let latency = u64::try_from(latency)?;
                    latencies.borrow_mut().saturating_record(latency);
                }
                Ok::<_, Problem>(())
            }));
        }
        let timetable = async {
            let start = clock.now();
            let end = start.saturating_add(length);
            let mut next = start;
            let mut number = 0_u32;
            while next < end {
                // No timer is as fine as the distance of two requests.
                while clock.now() < next {
                    yield_now().await;
                }
                due.borrow_mut().push_back(next);
                ready.add_permits(1);
                number += 1;
                next =
                    start.saturating_add(Duration::from_secs_f64(f64::from(number) / per_second));
            }
            // One more each, for which nothing is due.
            ready.add_permits(asking.len());
            for asking in asking {
                asking.await??;
            }
            Ok::<_, Problem>(())
        };
        local.run_until(timetable).await?;
        let latencies = latencies.borrow().clone();
        Ok(latencies)
    }

    /// What the page says.
    pub(crate) async fn page(&self) -> Result<Vec<u8>, Problem> {
        let mut connection = Connection::open(self.address).await?;
        Ok(connection.ask().await?.to_vec())
    }

    /// [`SOME`] requests, after one that opens the connection.
    pub(crate) async fn some(&self) -> Result<(), Problem> {
        let mut connection = Connection::open(self.address).await?;
        for _ in 0..SOME {
            connection.ask().await?;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Vec<Connection>, Problem> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut connection = Connection::open(self.address).await?;
            connection.ask().await?;
            connections.push(connection);
        }
        Ok(connections)
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, Problem> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let buffer = Vec::with_capacity(4096);
        Ok(Self { stream, buffer })
    }

    /// One page, to its last byte.
    async fn ask(&mut self) -> Result<&[u8], Problem> {
        self.stream.write_all(REQUEST).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the connection was closed".into());
            }
            if let Some(body) = body(&self.buffer)?
                && self.buffer.len() >= body.end
            {
                return Ok(&self.buffer[body]);
            }
        }
    }
}

/// Where it will be, as soon as the head is there.
fn body(read: &[u8]) -> Result<Option<Range<usize>>, Problem> {
    let Some(head) = read.windows(4).position(|it| it == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&read[..head])?;
    if !text.starts_with("HTTP/1.1 200") {
        return Err(format!("answered {text}").into());
    }
    let mut lengths = text
        .lines()
        .filter_map(|line| line.strip_prefix("content-length: "));
    let length: usize = lengths.next().ok_or("no length")?.parse()?;
    let start = head + 4;
    Ok(Some(start..start + length))
}

const REQUEST: &[u8] = b"GET /dishes/7 HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// In nanoseconds.
const MINUTE: u64 = 60_000_000_000;
