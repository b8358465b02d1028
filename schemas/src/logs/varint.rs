//! Whole numbers in as few bytes as they need: LEB128, as in DWARF and protocol buffers.

/// Appends a number.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a number with a sign, small ones in few bytes (zigzag).
pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, (number << 1 ^ number >> 63).cast_unsigned());
}

/// Appends bytes with their length before them.
pub(super) fn put_piece(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads numbers and bytes; everything is `None` beyond the end, and for what was never written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A number that counts what follows: each takes a byte at least, so that nobody makes room for what is not there.
    pub(super) fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.0.len()).then_some(count)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// Bytes with their length before them.
    pub(super) fn piece(&mut self) -> Option<&'a [u8]> {
        let length = self.count()?;
        self.bytes(length)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers: Vec<(u64, i64)>, shift in 0..64_u32) {
            let mut out = Vec::new();
            for (number, signed) in &numbers {
                put(&mut out, number >> shift);
                put_signed(&mut out, signed >> shift);
            }
            let mut input = Input(&out);
            for (number, signed) in &numbers {
                prop_assert_eq!(input.number(), Some(number >> shift));
                prop_assert_eq!(input.signed(), Some(signed >> shift));
            }
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let mut input = Input(&bytes);
            while input.number().is_some() {}
        }
    }

    #[test]
    fn what_is_larger_than_64_bits_is_no_number() {
        assert_eq!(Input(&[0xff; 11]).number(), None);
        let mut largest = Vec::new();
        put(&mut largest, u64::MAX);
        assert_eq!((largest.len(), Input(&largest).number()), (10, Some(u64::MAX)));
        largest[9] = 2;
        assert_eq!(Input(&largest).number(), None);
        assert_eq!(Input(&[0x80]).number(), None);
    }
}
