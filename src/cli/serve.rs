//! Serves the pages beside what a command does.

use std::net::SocketAddr;
use std::sync::Arc;

use super::failure::Failure;
use super::interrupt::Process;
use crate::http::{self, Facts};
use crate::settings::{HttpAddress, Settings};

/// Serves until the process is to stop; gives the address. When the usual address is taken and
/// nobody asked for it, a free port is taken instead, so that two processes can be started on one
/// machine.
pub(super) fn serve(
    facts: Facts,
    settings: &Settings,
    process: &Process,
) -> Result<Option<SocketAddr>, Failure> {
    let HttpAddress::At(wanted) = settings.http else {
        return Ok(None);
    };
    let facts = Arc::new(facts);
    let bind = |address| http::bind(address, Arc::clone(&facts), process.stopped());
    let bound = process.tokio.block_on(async {
        match bind(wanted).await {
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse && settings.http_is_default =>
            {
                bind(SocketAddr::new(wanted.ip(), 0)).await
            }
            bound => bound,
        }
    });
    let (address, serving) = bound.map_err(|error| {
        Failure::Failed(anyhow::anyhow!(
            "serve HTTP at {wanted}: {error} (see --http)"
        ))
    })?;
    process.tokio.spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "HTTP has ended");
        }
    });
    Ok(Some(address))
}
