//! The host as it is to one connection: secrets have the values that they had when it
//! began. One that is changed meanwhile would be sent without being masked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::{Host, Mask, Server};

pub(crate) struct Given {
    host: Arc<dyn Host>,
    values: BTreeMap<String, Zeroizing<String>>,
}

impl Given {
    /// With the secrets of a server, of those that are there.
    pub(crate) fn new(server: &Server, host: &Arc<dyn Host>) -> Self {
        let values = server
            .secrets()
            .filter_map(|name| Some((name.to_owned(), host.secret(name)?)));
        Self {
            host: Arc::clone(host),
            values: values.collect(),
        }
    }

    pub(crate) fn values(&self) -> Vec<&str> {
        self.values.values().map(|value| value.as_str()).collect()
    }
}

impl Host for Given {
    fn secret(&self, name: &str) -> Option<Zeroizing<String>> {
        self.values.get(name).cloned()
    }

    fn may_reach(
        &self,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        allow_private: bool,
    ) -> Result<(), String> {
        self.host.may_reach(peer, local, allow_private)
    }

    fn mask(&self, values: &[&str]) -> Option<Mask> {
        self.host.mask(values)
    }
}
