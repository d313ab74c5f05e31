//! Which network addresses a stranger's URL may lead to: whoever may name an address may not use this machine to get at what
//! only this machine reaches (SSRF).
//!
//! The names of IANA's registries for special-purpose addresses (RFC 6890) are followed; of IPv6 only what is assigned for
//! the internet (2000::/3) is public.

pub mod http;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Public addresses, and the networks that were allowed besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    allowed: Vec<IpNet>,
}

/// An address that may not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {kind}")]
pub struct OutOfReach {
    pub address: IpAddr,
    pub kind: Special,
}

/// What an address is that is not public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Special {
    Unspecified,
    Loopback,
    Private,
    LinkLocal,
    /// 100.64.0.0/10, between a provider and its customers.
    SharedByProvider,
    Multicast,
    /// It holds an IPv4 address that somebody else's gateway would be asked for: NAT64, 6to4, Teredo, IPv4-compatible.
    Tunnel,
    /// For protocols, documentation, benchmarks, or not assigned.
    Reserved,
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "the unspecified address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::SharedByProvider => "an address shared by a provider's customers (100.64.0.0/10)",
            Self::Multicast => "a multicast address",
            Self::Tunnel => "an address that tunnels to another one",
            Self::Reserved => "a reserved address",
        })
    }
}

impl Reach {
    /// Every address.
    #[must_use]
    pub fn anywhere() -> Self {
        let all = [IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())];
        Self { allowed: all.to_vec() }
    }

    /// # Errors
    /// It is neither public nor allowed.
    pub fn check(&self, address: IpAddr) -> Result<(), OutOfReach> {
        let address = address.to_canonical();
        match special(address) {
            Some(kind) if !self.allowed.iter().any(|network| network.contains(&address)) => {
                Err(OutOfReach { address, kind })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Networks and addresses with commas (`192.168.0.0/16, 10.0.0.5`), or `any`.
impl FromStr for Reach {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "any" {
            return Ok(Self::anywhere());
        }
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let network = |part: &str| {
            let address = part.parse().map(|address: IpAddr| IpNet::from(address.to_canonical()));
            part.parse::<IpNet>().or(address).map_err(|_| {
                format!("{part:?} is no network; give networks such as 192.168.0.0/16 or addresses, or any")
            })
        };
        Ok(Self { allowed: parts.map(network).collect::<Result<_, _>>()? })
    }
}

/// `None`: a public address. IPv4 addresses mapped into IPv6 must have been taken out.
fn special(address: IpAddr) -> Option<Special> {
    match address {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<Special> {
    let found = match address.octets() {
        [0, 0, 0, 0] => Special::Unspecified,
        [127, ..] => Special::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Special::Private,
        [169, 254, ..] => Special::LinkLocal,
        [100, 64..=127, ..] => Special::SharedByProvider,
        [224..=239, ..] => Special::Multicast,
        // Anycast of 6to4 relays.
        [192, 88, 99, _] => Special::Tunnel,
        [0 | 240..=255, ..]
        | [192, 0, 0 | 2, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Special::Reserved,
        _ => return None,
    };
    Some(found)
}

fn special_v6(address: Ipv6Addr) -> Option<Special> {
    let found = match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Special::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Special::Loopback,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Special::Private,
        [0xfe80..=0xfebf, ..] => Special::LinkLocal,
        [0xff00..=0xffff, ..] => Special::Multicast,
        [0, 0, 0, 0, 0, 0, _, _] | [0x64, 0xff9b, ..] | [0x2001, 0, ..] | [0x2002, ..] => Special::Tunnel,
        [0x2001, 0x1..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Special::Reserved,
        [0x2000..=0x3fff, ..] => return None,
        _ => Special::Reserved,
    };
    Some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(address: &str) -> Option<Special> {
        Reach::default().check(address.parse().unwrap()).err().map(|refused| refused.kind)
    }

    #[test]
    fn what_only_this_machine_reaches_is_out_of_reach() {
        use Special::{
            LinkLocal, Loopback, Multicast, Private, Reserved, SharedByProvider, Tunnel, Unspecified,
        };
        for (address, expected) in [
            ("0.0.0.0", Unspecified),
            ("::", Unspecified),
            ("127.0.0.1", Loopback),
            ("127.255.255.255", Loopback),
            ("::1", Loopback),
            ("10.0.0.1", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.1.1", Private),
            ("fd00::1", Private),
            ("fec0::1", Private),
            ("169.254.169.254", LinkLocal),
            ("fe80::1", LinkLocal),
            ("100.64.0.1", SharedByProvider),
            ("100.127.255.255", SharedByProvider),
            ("224.0.0.1", Multicast),
            ("239.255.255.255", Multicast),
            ("ff02::1", Multicast),
            ("192.88.99.1", Tunnel),
            ("64:ff9b::a00:1", Tunnel),
            ("64:ff9b:1::a00:1", Tunnel),
            ("2002:7f00:1::", Tunnel),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Tunnel),
            ("::7f00:1", Tunnel),
            ("0.1.2.3", Reserved),
            ("192.0.0.8", Reserved),
            ("192.0.2.1", Reserved),
            ("198.18.0.1", Reserved),
            ("198.51.100.1", Reserved),
            ("203.0.113.1", Reserved),
            ("240.0.0.1", Reserved),
            ("255.255.255.255", Reserved),
            ("2001:db8::1", Reserved),
            ("3fff::1", Reserved),
            ("5f00::1", Reserved),
            ("100::1", Reserved),
            // Mapped addresses are what they hold.
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:169.254.169.254", LinkLocal),
        ] {
            assert_eq!(kind(address), Some(expected), "{address}");
        }
    }

    #[test]
    fn the_internet_is_within_reach() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "2606:4700:4700::1111",
            "2a00:1450::1",
            "::ffff:1.1.1.1",
        ] {
            assert_eq!(kind(address), None, "{address}");
        }
    }

    #[test]
    fn networks_can_be_allowed() {
        let reach: Reach = "192.168.0.0/16, 10.0.0.5,fd00::/8".parse().unwrap();
        for (address, allowed) in [
            ("192.168.3.4", true),
            ("::ffff:192.168.3.4", true),
            ("10.0.0.5", true),
            ("10.0.0.6", false),
            ("fd12::1", true),
            ("127.0.0.1", false),
            ("9.9.9.9", true),
        ] {
            assert_eq!(reach.check(address.parse().unwrap()).is_ok(), allowed, "{address}");
        }
        assert_eq!("".parse::<Reach>().unwrap(), Reach::default());
        assert!("localhost".parse::<Reach>().unwrap_err().contains("\"localhost\""));
        assert!("10.0.0.0/33".parse::<Reach>().is_err());
    }

    proptest! {
        #[test]
        fn any_is_everything(address in any::<u128>(), v4 in any::<u32>()) {
            let reach: Reach = "any".parse().unwrap();
            prop_assert!(reach.check(Ipv6Addr::from(address).into()).is_ok());
            prop_assert!(reach.check(Ipv4Addr::from(v4).into()).is_ok());
        }

        #[test]
        fn a_mapped_address_is_judged_as_what_it_holds(v4 in any::<u32>()) {
            let address = Ipv4Addr::from(v4);
            let (plain, mapped) = (Reach::default().check(address.into()), Reach::default().check(address.to_ipv6_mapped().into()));
            prop_assert_eq!(plain, mapped);
        }
    }
}
