//! Ports of servers that come and go.

use std::{
    iter::repeat_with,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    ops::Range,
};

/// A port of the loopback that no other test is given, in whatever process, as long as this is there.
///
/// Also not while its server is away: else another test's would answer in its place, or keep it
/// from coming back.
pub(crate) struct Port {
    number: u16,
    /// Nobody speaks over it: whoever has the number here has it.
    _claim: UdpSocket,
}

impl Port {
    /// One that nobody listens on, nor on the one that the bus of a cluster has beside it.
    pub(crate) fn free() -> Self {
        let mut numbers = repeat_with(|| fastrand::u16(NUMBERS)).take(1000);
        numbers.find_map(Self::claim).expect("a free port")
    }

    pub(crate) const fn number(&self) -> u16 {
        self.number
    }

    fn claim(number: u16) -> Option<Self> {
        let claim = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        (is_free(number) && is_free(number + BUS)).then_some(Self {
            number,
            _claim: claim,
        })
    }
}

/// Below those that systems give to connections. With the bus of each they end at 30000.
const NUMBERS: Range<u16> = 10_000..20_000;
/// Where the bus of a cluster listens, above the port.
const BUS: u16 = 10_000;

#[test]
fn a_port_whose_server_is_away_is_given_to_nobody_else() {
    let port = Port::free();
    let number = port.number();
    drop(TcpListener::bind((Ipv4Addr::LOCALHOST, number)).expect("its server comes and goes"));
    assert!(Port::claim(number).is_none());
    drop(port);
    assert_eq!(Port::claim(number).map(|port| port.number()), Some(number));
}
