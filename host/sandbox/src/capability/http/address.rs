//! Which addresses a plugin may not reach without being told so by name.
//!
//! What must stay true: an IPv6 address is refused unless it is known to be
//! public; an IPv4 address wrapped in an IPv6 one is judged as what it wraps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// Reachable from anywhere.
    Public,
    /// Loopback, private, link-local, carrier-grade NAT, documentation and the
    /// like, with its name: needs `allow_private`.
    Private(&'static str),
    /// An address where clouds keep the credentials of their machines: needs
    /// `allow_private` and a rule that names it.
    Metadata,
    /// Never an address of one host: unspecified, multicast, broadcast, reserved.
    Never(&'static str),
}

/// The class of `ip` (IANA's special-purpose registries, 2025).
#[must_use]
pub fn classify(ip: IpAddr) -> AddressClass {
    match ip {
        IpAddr::V4(ip) => classify_v4(ip),
        IpAddr::V6(ip) => classify_v6(ip),
    }
}

fn classify_v4(ip: Ipv4Addr) -> AddressClass {
    use AddressClass::{Metadata, Never, Private, Public};
    match ip.octets() {
        [169, 254, 169, 254 | 253] | [169, 254, 170, 2 | 23] => Metadata,
        [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, 192] => Metadata,
        [0, ..] => Never("unspecified"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Private("private"),
        [127, ..] => Private("loopback"),
        [169, 254, ..] => Private("link-local"),
        [100, 64..=127, ..] => Private("shared (carrier-grade NAT)"),
        [192, 0, 0, _] => Private("protocol assignment"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Private("documentation"),
        [192, 88, 99, _] => Private("6to4 relay"),
        [198, 18..=19, ..] => Private("benchmarking"),
        [224..=239, ..] => Never("multicast"),
        [240..=255, ..] => Never("reserved"),
        _ => Public,
    }
}

fn classify_v6(ip: Ipv6Addr) -> AddressClass {
    use AddressClass::{Metadata, Never, Private, Public};
    let words = ip.segments();
    let tail = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match words {
        [0, 0, 0, 0, 0, 0, 0, 1] => Private("loopback"),
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Metadata,
        [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => Metadata,
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] => wrapped(tail(high, low), true),
        [0, 0, 0, 0, 0xffff, 0, high, low] => wrapped(tail(high, low), true),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => wrapped(tail(high, low), false),
        [0x2002, high, low, ..] => wrapped(tail(high, low), true),
        [0x2001, 0, ..] => Private("Teredo"),
        [0x64, 0xff9b, 1, ..] => Private("local NAT64"),
        [0x2001, 0..=0x1ff, ..] => Private("protocol assignment"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Private("documentation"),
        [0xfc00..=0xfdff, ..] => Private("unique local"),
        [0xfe80..=0xfebf, ..] => Private("link-local"),
        [0xfec0..=0xfeff, ..] => Private("site-local"),
        [0xff00..=0xffff, ..] => Never("multicast"),
        [0x2000..=0x3fff, ..] => Public,
        _ => Private("not assigned"),
    }
}

/// The class of an IPv6 address that stands for an IPv4 one. Only NAT64's
/// well-known prefix is an ordinary way to a public host.
fn wrapped(ip: Ipv4Addr, unusual: bool) -> AddressClass {
    match classify_v4(ip) {
        AddressClass::Public if unusual => AddressClass::Private("an IPv4 address in IPv6 form"),
        class => class,
    }
}
