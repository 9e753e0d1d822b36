//! An HTTP client for loopback.

use std::time::Duration;

/// A client that asks no proxy, follows no redirect and gives up after 30 seconds.
pub fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(30))
        .build()
        .expect("nothing that could fail is asked for")
}
