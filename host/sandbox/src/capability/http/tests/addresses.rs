//! Every range of addresses, at both its ends.

use std::net::IpAddr;

use crate::capability::http::address::{AddressClass, classify};

const PUBLIC: &[&str] = &[
    "1.1.1.1",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.255",
    "192.0.3.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00::1",
    "2001:200::1",
    "64:ff9b::1.1.1.1",
];

const PRIVATE: &[&str] = &[
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.0.0",
    "169.254.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "::1",
    "::1.1.1.1",
    "::127.0.0.1",
    "::ffff:1.1.1.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:101:101::1",
    "2001:0:1:2:3:4:80ff:fffe",
    "2001::1",
    "2001:2::1",
    "2001:20::1",
    "2001:db8::1",
    "3fff::1",
    "100::1",
    "5f00::1",
    "fc00::1",
    "fdff::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "4000::1",
    "e000::1",
];

const METADATA: &[&str] = &[
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "::ffff:0:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::",
];

const NEVER: &[&str] = &[
    "0.0.0.0",
    "0.255.255.255",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "ff02::1",
    "::ffff:0.0.0.0",
    "::ffff:0:224.0.0.1",
    "64:ff9b::224.0.0.1",
];

#[test]
fn addresses_have_their_class() {
    let name = |text: &&str| match classify(text.parse::<IpAddr>().expect(text)) {
        AddressClass::Public => "public",
        AddressClass::Private(_) => "private",
        AddressClass::Metadata => "metadata",
        AddressClass::Never(_) => "never",
    };
    let tables = [
        ("public", PUBLIC),
        ("private", PRIVATE),
        ("metadata", METADATA),
        ("never", NEVER),
    ];
    for (class, table) in tables {
        assert!(table.len() >= 10);
        for address in table {
            assert_eq!(name(address), class, "{address}");
        }
    }
}

/// What an administrator is told of an address that no rule reaches as it is.
#[test]
fn what_is_not_public_says_what_it_is() {
    for (address, kind) in [
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:0:127.0.0.1", "loopback"),
        ("::ffff:0:1.1.1.1", "an IPv4 address in IPv6 form"),
        ("2001::1", "Teredo"),
        ("2001:2::1", "protocol assignment"),
        ("64:ff9b:1::1", "local NAT64"),
        ("2001:db8::1", "documentation"),
        ("fc00::1", "unique local"),
        ("fdff::1", "unique local"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "site-local"),
        ("feff::1", "site-local"),
        ("4000::1", "not assigned"),
    ] {
        let class = classify(address.parse().expect(address));
        assert_eq!(class, AddressClass::Private(kind), "{address}");
    }
}
