//! Lists of whole numbers as scripts pack them: in MessagePack.

/// The numbers of a packed list; `other` stands for what is no number, or less than zero. `None`
/// where it is no such list.
pub(super) fn numbers(mut packed: &[u8], other: u64) -> Option<Vec<u64>> {
    let length = match take(&mut packed)? {
        [head @ 0x90..=0x9F] => u64::from(head - 0x90),
        [0xDC] => number::<2>(&mut packed)?,
        [0xDD] => number::<4>(&mut packed)?,
        _ => return None,
    };
    // Each takes a byte at least: whoever claims more than there is gets no memory for them.
    let length = usize::try_from(length).ok()?;
    if length > packed.len() {
        return None;
    }
    let mut numbers = Vec::with_capacity(length);
    for _ in 0..length {
        let [head] = take(&mut packed)?;
        numbers.push(match head {
            0x00..=0x7F => u64::from(head),
            0xCC => number::<1>(&mut packed)?,
            0xCD => number::<2>(&mut packed)?,
            0xCE => number::<4>(&mut packed)?,
            0xCF => number::<8>(&mut packed)?,
            // Nothing, false and true; the last numbers before zero.
            0xC0 | 0xC2 | 0xC3 | 0xE0..=0xFF => other,
            0xD0 => signed::<1>(&mut packed, other)?,
            0xD1 => signed::<2>(&mut packed, other)?,
            0xD2 => signed::<4>(&mut packed, other)?,
            0xD3 => signed::<8>(&mut packed, other)?,
            // A fraction, or a number that has no place among those of 64 bits.
            0xCA => take::<4>(&mut packed).map(|_| other)?,
            0xCB => take::<8>(&mut packed).map(|_| other)?,
            _ => return None,
        });
    }
    packed.is_empty().then_some(numbers)
}

fn take<const N: usize>(packed: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, rest) = packed.split_first_chunk()?;
    *packed = rest;
    Some(*bytes)
}

fn number<const N: usize>(packed: &mut &[u8]) -> Option<u64> {
    let bytes: [u8; N] = take(packed)?;
    let join = |number, byte: &u8| number << 8 | u64::from(*byte);
    Some(bytes.iter().fold(0, join))
}

/// A number that may be less than zero.
fn signed<const N: usize>(packed: &mut &[u8], other: u64) -> Option<u64> {
    let is_negative = packed.first()? & 0x80 != 0;
    let number = number::<N>(packed)?;
    Some(if is_negative { other } else { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: u64 = u64::MAX;

    #[test]
    fn numbers_come_out_as_the_server_packs_them() {
        // As of Redis 7.0: `EVAL "return cmsgpack.pack({…})" 0`.
        for (packed, expected) in [
            (&b"\x90"[..], &[][..]),
            (b"\x93\x00\x01\x7f", &[0, 1, 127]),
            (b"\x93\xcc\x80\xcc\xff\xcd\x01\x00", &[128, 255, 256]),
            (b"\x92\xcd\xff\xff\xce\x00\x01\x00\x00", &[65_535, 65_536]),
            (
                b"\x92\xce\xff\xff\xff\xff\xcf\x00\x00\x00\x01\x00\x00\x00\x00",
                &[0xFFFF_FFFF, 0x1_0000_0000],
            ),
            (
                b"\x91\xcf\x00\x06\x60\xe3\xdb\x94\x16\x2e",
                &[1_795_381_618_021_934],
            ),
            (b"\x93\xc2\xc0\x05", &[OTHER, OTHER, 5]),
            (b"\x93\xff\xd0\x80\xd1\xff\x00", &[OTHER; 3]),
            (b"\x92\xca\x5f\x00\x00\x00\xca\x3f\x00\x00\x00", &[OTHER; 2]),
            (b"\x91\xcb\x43\xe0\x00\x00\x00\x00\x00\x01", &[OTHER]),
            (b"\xdc\x00\x02\x01\x02", &[1, 2]),
            (b"\xdd\x00\x00\x00\x01\x09", &[9]),
        ] {
            assert_eq!(numbers(packed, OTHER).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_no_list_of_numbers_is_refused() {
        for packed in [
            &b""[..],
            b"\x01",
            b"\x91",
            b"\x92\x01",
            b"\x91\x01\x02",
            b"\x91\xa1x",
            b"\x91\xcf\x00",
            b"\x91\xd3\x80",
            b"\x91\xcb\x00",
            b"\xdc\xff",
            b"\xdd\xff\xff\xff\xff\x01",
            b"\x81\x01\x02",
        ] {
            assert_eq!(numbers(packed, OTHER), None, "{packed:x?}");
        }
    }

    #[test]
    fn random_bytes_are_a_list_or_none_and_no_prefix_of_a_list_is_one() {
        let heads = [
            0x00, 0x7F, 0x90, 0x93, 0xC0, 0xC2, 0xCA, 0xCB, 0xCC, 0xCD, 0xCE, 0xCF, 0xD0, 0xD1,
            0xD2, 0xD3, 0xDC, 0xDD, 0xFF,
        ];
        let mut random = fastrand::Rng::with_seed(1);
        let mut lists = 0;
        for _ in 0..200_000 {
            let length = random.usize(..12);
            let byte = |random: &mut fastrand::Rng| match random.bool() {
                true => heads[random.usize(..heads.len())],
                false => random.u8(..),
            };
            let mut packed: Vec<u8> = (0..length).map(|_| byte(&mut random)).collect();
            // Few would begin as a list does.
            if let Some(head) = packed.first_mut() {
                *head = *random
                    .choice(&[0x90, 0x91, 0x92, 0x93, *head])
                    .expect("five");
            }
            let Some(numbers) = numbers(&packed, OTHER) else {
                continue;
            };
            lists += 1;
            // Each number takes a byte at least: nobody is made to ask for memory.
            assert!(numbers.len() < packed.len(), "{packed:x?}");
            for end in 0..packed.len() {
                assert_eq!(super::numbers(&packed[..end], OTHER), None, "{packed:x?}");
            }
        }
        assert!(lists > 1000, "{lists}");
    }
}
