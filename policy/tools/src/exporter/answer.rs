//! HTTP/1.1, as much of it as a scrape needs: one request, one answer, the end.

use crate::metrics::CONTENT_TYPE;
use httparse::{EMPTY_HEADER, Error, Request, Status};

/// Limit of bytes in a request. No request that asks for a page is longer.
pub(super) const LONGEST: usize = 8192;

/// Limit of lines in a request. No request that asks for a page has more.
const MOST_HEADERS: usize = 64;

/// The request of a client, as far as it has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Not all of it is there.
    Unfinished,
    /// The page.
    Page,
    /// The same without its text.
    Head,
    /// A request that is answered with this status line.
    Wrong(&'static str),
}

/// Reads the bytes that have come.
pub(super) fn asked(bytes: &[u8]) -> Asked {
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut request = Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) if bytes.len() < LONGEST => return Asked::Unfinished,
        Ok(Status::Partial) | Err(Error::TooManyHeaders) => {
            return Asked::Wrong("431 Request Header Fields Too Large");
        }
        Err(_) => return Asked::Wrong("400 Bad Request"),
    }
    let path = request.path.and_then(|path| path.split('?').next());
    match (request.method, path) {
        (Some("GET"), Some("/metrics")) => Asked::Page,
        (Some("HEAD"), Some("/metrics")) => Asked::Head,
        (_, Some("/metrics")) => Asked::Wrong("405 Method Not Allowed"),
        _ => Asked::Wrong("404 Not Found"),
    }
}

/// The answer to a request that has been read; `None` to one that has not.
pub(super) fn answer(asked: &Asked, page: impl FnOnce() -> String) -> Option<Vec<u8>> {
    let (status, kind, text, with_text) = match asked {
        Asked::Unfinished => return None,
        Asked::Page => ("200 OK", CONTENT_TYPE, page(), true),
        Asked::Head => ("200 OK", CONTENT_TYPE, page(), false),
        Asked::Wrong(status) => (*status, "text/plain; charset=utf-8", format!("{status}\n"), true),
    };
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        text.len()
    );
    if with_text {
        answer.push_str(&text);
    }
    Some(answer.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_page_is_answered_and_nothing_else() {
        for (request, expected) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Asked::Page),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", Asked::Page),
            ("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Asked::Head),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n", Asked::Unfinished),
            ("", Asked::Unfinished),
            ("POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Asked::Wrong("405 Method Not Allowed")),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Asked::Wrong("404 Not Found")),
            ("GET /metrics/../../etc/passwd HTTP/1.1\r\n\r\n", Asked::Wrong("404 Not Found")),
            ("GET http://a/metrics HTTP/1.1\r\n\r\n", Asked::Wrong("404 Not Found")),
            ("\x05\x01\x00", Asked::Wrong("400 Bad Request")),
        ] {
            assert_eq!(asked(request.as_bytes()), expected, "{request:?}");
        }
    }

    #[test]
    fn a_request_that_is_too_long_ends() {
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(LONGEST));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(MOST_HEADERS + 1));
        for request in [long, many] {
            assert_eq!(asked(request.as_bytes()), Asked::Wrong("431 Request Header Fields Too Large"));
        }
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_closes() {
        let page = || "# EOF\n".to_owned();
        let whole = String::from_utf8(answer(&Asked::Page, page).unwrap()).unwrap();
        assert!(
            whole
                .starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0;")
        );
        assert!(whole.contains("\r\nContent-Length: 6\r\n") && whole.ends_with("\r\n\r\n# EOF\n"));
        let head = answer(&Asked::Head, page).unwrap();
        assert_eq!(whole.as_bytes(), [&head[..], b"# EOF\n"].concat());
        assert_eq!(answer(&Asked::Unfinished, page), None);
    }
}
