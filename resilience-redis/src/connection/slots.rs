//! Which slot a key is in, and who owns which slots: the pure part of a cluster.

use redis::Value;

use super::Address;

/// The slot that `key` is in, by its hash tag where it has one.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    crc16(hash_tag(key)) % SLOTS
}

/// Who owns which slots, as one server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotMap {
    /// Those who own slots, in the order of their first.
    owners: Vec<Address>,
    /// First and last slot, and the index of the owner; in order, without overlap.
    ranges: Vec<(u16, u16, usize)>,
    /// Those who could tell as well: replicas.
    pub(super) replicas: Vec<Address>,
}

impl SlotMap {
    /// Nobody owns anything, as far as is known.
    pub(super) const fn empty() -> Self {
        Self {
            owners: Vec::new(),
            ranges: Vec::new(),
            replicas: Vec::new(),
        }
    }

    /// Reads the reply to `CLUSTER SLOTS` of a server that was asked at `asked`.
    pub(super) fn read(reply: &Value, asked: &Address) -> Option<Self> {
        let Value::Array(entries) = reply else {
            return None;
        };
        let mut map = Self::empty();
        let mut ranges = Vec::new();
        for entry in entries {
            let Value::Array(parts) = entry else {
                return None;
            };
            let [first, last, owner, replicas @ ..] = &parts[..] else {
                return None;
            };
            ranges.push((slot(first)?, slot(last)?, server(owner, asked)?));
            // One that is no address, as of a replica whose name is not known yet, helps nobody.
            let replicas = replicas.iter().filter_map(|replica| server(replica, asked));
            map.replicas.extend(replicas);
        }
        ranges.sort_unstable_by_key(|(first, ..)| *first);
        for (first, last, owner) in ranges {
            map.add(first, last, owner)?;
        }
        map.replicas.sort_unstable();
        map.replicas.dedup();
        (!map.owners.is_empty()).then_some(map)
    }

    /// Adds slots behind all that are there; `None` where that is not where they are.
    fn add(&mut self, first: u16, last: u16, owner: Address) -> Option<()> {
        let before = self.ranges.last().map(|(_, before, _)| *before);
        if first > last || before.is_some_and(|before| before >= first) {
            return None;
        }
        let known = self.owners.iter().position(|known| *known == owner);
        let index = known.unwrap_or_else(|| {
            self.owners.push(owner);
            self.owners.len() - 1
        });
        self.ranges.push((first, last, index));
        Some(())
    }

    /// What most of `views` say, where servers do not agree yet; the first of those that are even.
    pub(super) fn agreed(views: &[Self]) -> Option<&Self> {
        let votes = |view: &&Self| views.iter().filter(|other| view.says_as(other)).count();
        // Of several maxima `max_by_key` takes the last.
        views.iter().rev().max_by_key(votes)
    }

    /// Whether both name the same owner for every slot.
    pub(super) fn says_as(&self, other: &Self) -> bool {
        self.owners == other.owners && self.ranges == other.ranges
    }

    pub(super) fn owners(&self) -> &[Address] {
        &self.owners
    }

    /// The index among [`owners`](Self::owners) of the owner of `slot`.
    pub(super) fn owner(&self, slot: u16) -> Option<usize> {
        let behind = self.ranges.partition_point(|(first, ..)| *first <= slot);
        let (_, last, owner) = self.ranges[..behind].last()?;
        (slot <= *last).then_some(*owner)
    }
}

/// A server that an error or a list names; without a host it is on the one that was asked.
pub(super) fn named(host: &str, port: u16, asked: &Address) -> Option<Address> {
    match (host, asked) {
        ("" | "?", Address::Tcp { host, .. }) => Some(Address::tcp(host, port)),
        ("" | "?", Address::Unix(_)) => None,
        (host, _) => Some(Address::tcp(host, port)),
    }
}

fn slot(value: &Value) -> Option<u16> {
    let Value::Int(slot) = value else {
        return None;
    };
    u16::try_from(*slot).ok().filter(|slot| *slot < SLOTS)
}

fn server(value: &Value, asked: &Address) -> Option<Address> {
    let Value::Array(parts) = value else {
        return None;
    };
    let (host, port) = match &parts[..] {
        [Value::Nil, Value::Int(port), ..] => ("", port),
        [Value::BulkString(host), Value::Int(port), ..] => (std::str::from_utf8(host).ok()?, port),
        [Value::SimpleString(host), Value::Int(port), ..] => (host.as_str(), port),
        _ => return None,
    };
    named(host, u16::try_from(*port).ok()?, asked)
}

/// What stands between the first `{` and the next `}`, if that is anything; else the whole key.
fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|byte| *byte == b'{') else {
        return key;
    };
    let tag = &key[open + 1..];
    match tag.iter().position(|byte| *byte == b'}') {
        None | Some(0) => key,
        Some(close) => &tag[..close],
    }
}

/// CRC-16 as the cluster specification has it: XMODEM, polynomial 0x1021, from zero.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let index = usize::from(crc >> 8) ^ usize::from(*byte);
        (crc << 8) ^ CRC16[index]
    })
}

const CRC16: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[allow(clippy::cast_possible_truncation, reason = "`byte` is below 256")]
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};
const SLOTS: u16 = 16384;

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Address {
        Address::tcp("asked", 7000)
    }

    fn host(name: &str, port: i64) -> Value {
        let name = Value::BulkString(name.into());
        Value::Array(vec![name, Value::Int(port), Value::BulkString("id".into())])
    }

    fn range(first: i64, last: i64, servers: &[(&str, i64)]) -> Value {
        let servers = servers.iter().map(|(name, port)| host(name, *port));
        let slots = [Value::Int(first), Value::Int(last)];
        Value::Array(slots.into_iter().chain(servers).collect())
    }

    fn read(ranges: Vec<Value>) -> Option<SlotMap> {
        SlotMap::read(&Value::Array(ranges), &asked())
    }

    #[test]
    fn a_key_is_in_the_slot_of_its_hash_tag() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, slot) in [
            ("{a}b", 15495),
            ("a", 15495),
            ("x{a}{b}", 15495),
            ("{a", 10276),
            ("{{a}}", 10276),
            ("foo{bar}{zap}", 5061),
            ("foo{}{bar}", slot_of(b"foo{}{bar}")),
            ("", 0),
        ] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        assert_ne!(slot_of(b"foo{}{bar}"), slot_of(b"bar"));
    }

    #[test]
    fn a_list_of_slots_is_read_whatever_its_order_and_its_gaps() {
        let map = read(vec![
            range(200, 300, &[("b", 2), ("c", 3)]),
            range(0, 100, &[("a", 1), ("c", 3), ("", 9)]),
            range(400, 16383, &[("a", 1)]),
        ])
        .expect("a map");
        assert_eq!(map.owners(), [Address::tcp("a", 1), Address::tcp("b", 2)]);
        assert_eq!(
            map.replicas,
            [Address::tcp("asked", 9), Address::tcp("c", 3)]
        );
        for (slot, owner) in [
            (0, Some(0)),
            (100, Some(0)),
            (101, None),
            (199, None),
            (200, Some(1)),
            (300, Some(1)),
            (399, None),
            (16383, Some(0)),
        ] {
            assert_eq!(map.owner(slot), owner, "{slot}");
        }
    }

    #[test]
    fn what_is_no_list_of_slots_is_none() {
        assert_eq!(SlotMap::read(&Value::Nil, &asked()), None);
        assert_eq!(read(vec![]), None);
        for wrong in [
            Value::Int(1),
            range(0, 16384, &[("a", 1)]),
            range(-1, 5, &[("a", 1)]),
            range(6, 5, &[("a", 1)]),
            range(0, 5, &[]),
            range(0, 5, &[("a", 65536)]),
        ] {
            assert_eq!(read(vec![wrong.clone()]), None, "{wrong:?}");
        }
        let overlapping = vec![range(0, 5, &[("a", 1)]), range(5, 9, &[("b", 1)])];
        assert_eq!(read(overlapping), None);
    }

    #[test]
    fn one_that_is_behind_does_not_decide() {
        let view = |owner| read(vec![range(0, 16383, &[(owner, 1)])]).expect("a map");
        let views = [view("old"), view("new"), view("new")];
        assert_eq!(SlotMap::agreed(&views), Some(&views[1]));
        assert_eq!(SlotMap::agreed(&views[..2]), Some(&views[0]));
        assert_eq!(SlotMap::agreed(&[]), None);
    }

    #[test]
    fn an_owner_is_found_as_by_going_through_the_list() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..200 {
            let mut list = Vec::new();
            let mut next = 0;
            while next < i64::from(SLOTS) {
                let first = next + random.i64(0..3) * random.i64(0..900);
                let last = first + random.i64(0..4000);
                if last < i64::from(SLOTS) {
                    list.push((first, last, random.i64(1..5)));
                }
                next = last + 1;
            }
            let mut shuffled = list.clone();
            random.shuffle(&mut shuffled);
            let entry = |&(first, last, owner): &_| range(first, last, &[("host", owner)]);
            let Some(map) = read(shuffled.iter().map(entry).collect()) else {
                assert!(list.is_empty());
                continue;
            };
            for slot in 0..SLOTS {
                let holds = |(first, last, _): &&(i64, i64, i64)| {
                    (*first..=*last).contains(&i64::from(slot))
                };
                let expected = list.iter().find(holds).map(|(.., owner)| *owner);
                let owner = map.owner(slot).map(|index| map.owners()[index].clone());
                let expected =
                    expected.map(|port| Address::tcp("host", u16::try_from(port).expect("a port")));
                assert_eq!(owner, expected, "{slot} of {list:?}");
            }
        }
    }

    #[test]
    fn whatever_a_server_says_each_slot_has_one_owner_or_none() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut maps, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let entries: Vec<_> = (0..random.usize(..5)).map(|_| entry(&mut random)).collect();
            let Some(map) = read(entries) else {
                refused += 1;
                continue;
            };
            maps += 1;
            for slot in (0..=u16::MAX).step_by(97) {
                let owner = map.owner(slot);
                assert!(
                    owner.is_none_or(|owner| owner < map.owners().len()),
                    "{map:?}"
                );
                assert!(slot < SLOTS || owner.is_none(), "{map:?}");
            }
            let both = [map.clone(), map];
            assert!(SlotMap::agreed(&both) == Some(&both[0]));
        }
        assert!(maps > 1000 && refused > 1000, "{maps} and {refused}");
    }

    /// One of a list, most of which make sense.
    fn entry(random: &mut fastrand::Rng) -> Value {
        let number = |random: &mut fastrand::Rng| match random.u8(..20) {
            0 => i64::MIN,
            1 => random.i64(..),
            _ => random.i64(0..=i64::from(SLOTS)),
        };
        match random.u8(..20) {
            0 => Value::Nil,
            1 => Value::Array(vec![Value::Int(number(random))]),
            2 => Value::Array(vec![Value::Int(0), Value::Int(1), Value::Nil]),
            _ => {
                let (one, other) = (number(random), number(random));
                let servers = [("a", number(random)), ("", 7000), ("\u{e9}", 1)];
                let servers = &servers[..random.usize(1..=servers.len())];
                range(one.min(other), one.max(other), servers)
            }
        }
    }
}
