//! Where a record stands: its partition, and its place in it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The unit of order, ownership and position: a Kafka partition, a Kinesis shard, a partition of the embedded log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(Arc<str>);

impl Partition {
    /// Names a partition as its source does.
    pub fn new(name: impl AsRef<str>) -> Self {
        Partition(name.as_ref().into())
    }

    /// The name, as it is stored in lease rows.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The place of a record in its partition. The fence compares positions for equality; only offsets have an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Position {
    /// A record number (Kafka, the embedded log).
    Offset(u64),
    /// Any text that the source uses; Kinesis sequence numbers have 56 digits. It MUST NOT read as an offset, because
    /// the kind is not stored.
    Sequence(Arc<str>),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Position::Offset(offset) => offset.fmt(f),
            Position::Sequence(text) => f.write_str(text),
        }
    }
}

impl FromStr for Position {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Only the exact form of an offset is one: the fence compares for equality, so `007` must stay `007`.
        let offset = text.parse().ok().filter(|offset: &u64| offset.to_string() == text);
        Ok(offset.map_or_else(|| Position::Sequence(text.into()), Position::Offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_from_its_text_as_it_was() {
        let texts =
            ["", "007", "+7", "18446744073709551616", "49590338271490256608559692538361571095921575989136588898"];
        for position in
            texts.map(|text| Position::Sequence(text.into())).into_iter().chain([0, 7, u64::MAX].map(Position::Offset))
        {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
    }
}
