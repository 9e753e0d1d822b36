//! The floor of HTTP: a bare actix-web handler that answers 65 constant bytes to `GET /`.
//!
//! `floor_http WORKERS` prints `{"http":"127.0.0.1:PORT"}` when it listens.

use std::io::Write as _;

use actix_web::{App, HttpResponse, HttpServer, web};

const BODY: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let workers = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let app = || App::new().route("/", web::get().to(|| async { HttpResponse::Ok().body(BODY) }));
    let server = HttpServer::new(app).workers(workers).bind("127.0.0.1:0")?;
    writeln!(std::io::stdout(), "{{\"http\":\"{}\"}}", server.addrs()[0])?;
    server.run().await
}
