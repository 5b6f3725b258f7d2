//! Who may ask.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Shared;

/// Asks for the token, when there is one.
pub(super) async fn token(State(facts): State<Shared>, request: Request, next: Next) -> Response {
    let allowed = match &facts.token {
        None => true,
        Some(token) => bearer(request.headers()).is_some_and(|given| token.is(given)),
    };
    if allowed {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    let text = "expected the header `Authorization: Bearer TOKEN` with the http_token setting\n";
    (StatusCode::UNAUTHORIZED, challenge, text).into_response()
}

/// Refuses foreign host names, when there is no token.
pub(super) async fn host(State(facts): State<Shared>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    if facts.token.is_some() || host.is_none_or(is_loopback) {
        return next.run(request).await;
    }
    let text = "expected a loopback host name; set http_token to be reached under another\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// `localhost:8080`, `127.0.0.1`, `[::1]:8080`.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let address = name.parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        let check = |host, expected| assert_eq!(is_loopback(host), expected, "{host}");
        check("localhost:8080", true);
        check("LOCALHOST", true);
        check("127.0.0.1:80", true);
        check("[::1]:8080", true);
        check("evil.example:8080", false);
        check("localhost.evil.example", false);
        check("192.168.0.1:8080", false);
        check("", false);
    }
}
