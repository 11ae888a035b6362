//! Cases of the room.

mod addresses;
mod connections;
mod exchange;
mod fuzz;
mod guest;
mod harness;
mod network;
mod rules;
mod secrets;
mod urls;

use crate::capability::Cases;

pub(crate) const CASES: Cases = Cases {
    grants: r#"
        http = [
            { url = "https://api.example.com/v1/contracts/*", secret = "contracts-key" },
            { url = "https://*.files.example.com:8443/**", methods = ["GET", "PUT"] },
            { url = "http://10.0.0.7/status", allow_private = true, rate = "10/min" },
            { url = "http://10.0.0.9/status" },
            { url = "http://0.0.0.0/", allow_private = true },
        ]
    "#,
    allowed: &[
        "GET https://api.example.com/v1/contracts/7",
        "GET https://API.example.com:443/v1/contracts/7?full=1#top",
        "GET https://api.example.com/v1/contracts/7 secret=contracts-key",
        "PUT https://a.files.example.com:8443/x/y",
        "GET http://10.7/status",
    ],
    denied: &[
        "POST https://api.example.com/v1/contracts/7",
        "GET https://api.example.com/v1/contracts/7/parties",
        "GET https://api.example.com/v1/contracts/7 secret=other",
        "GET http://api.example.com/v1/contracts/7",
        "GET https://files.example.com:8443/x",
        "GET https://a.b.files.example.com:8443/x",
        "PUT https://a.files.example.com:8443/x secret=contracts-key",
        "GET http://10.0.0.8/status",
        "GET http://10.0.0.9/status",
        "GET http://0/",
    ],
};
