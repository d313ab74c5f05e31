//! The generated gRPC types of `proto/ffmpegd/v1`, and the protocol versions that this build speaks.

#![allow(clippy::all, clippy::pedantic, unreachable_pub, missing_docs, unused_qualifications)]

tonic::include_proto!("ffmpegd.v1");

/// What KEDA asks of an external scaler.
pub mod keda {
    tonic::include_proto!("externalscaler");
}

/// Oldest protocol version that this build speaks.
pub const PROTOCOL_MIN: u32 = 1;
/// Newest protocol version that this build speaks.
pub const PROTOCOL_MAX: u32 = 4;

/// The first protocol version in which a worker says the digests of its files.
pub const DIGESTS_SINCE: u32 = 2;

/// The first protocol version in which a worker takes live work.
pub const LIVE_SINCE: u32 = 3;

/// The first protocol version in which a worker takes users' commands and probes, and several inputs.
pub const COMMANDS_SINCE: u32 = 4;

/// The first protocol version in which a worker follows an input that is still on its way to the coordinator.
pub const FOLLOWS_SINCE: u32 = 4;

/// Header of a GET for such an input: seconds that the answer may wait for a byte, a number. The answer has it too for as
/// long as more may come: 206 with what there is, its total `*` while nobody knows it, or 204 where nothing came.
pub const FOLLOW: &str = "tvarr-follow";

/// Metadata key of the worker token: `authorization: Bearer <token>`.
pub const AUTHORIZATION: &str = "authorization";

/// The newest version that both ranges contain.
#[must_use]
pub fn negotiate(theirs: std::ops::RangeInclusive<u32>) -> Option<u32> {
    let newest = PROTOCOL_MAX.min(*theirs.end());
    (newest >= PROTOCOL_MIN && newest >= *theirs.start()).then_some(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_used() {
        assert_eq!(negotiate(PROTOCOL_MIN..=PROTOCOL_MAX + 3), Some(PROTOCOL_MAX));
        assert_eq!(negotiate(PROTOCOL_MAX + 1..=PROTOCOL_MAX + 2), None);
        assert_eq!(negotiate(0..=0), None);
    }
}
