//! The live page, `GET /`: one response with its style and its script, and headers that let a
//! browser run only these two. The sources in `live/` are joined when the server is built.

use std::sync::LazyLock;

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};

use crate::http::Response;

/// The page. It contains no secret, so it needs no key.
const LIVE: &str = concat!(
    include_str!("live/head.html"),
    "<style>\n",
    include_str!("live/base.css"),
    include_str!("live/overview.css"),
    include_str!("live/cards.css"),
    include_str!("live/session.css"),
    include_str!("live/joining.css"),
    include_str!("live/manage.css"),
    include_str!("live/chosen.css"),
    include_str!("live/window.css"),
    include_str!("live/print.css"),
    "</style>\n</head>\n",
    include_str!("live/body.html"),
    "<script>\n\"use strict\";\n",
    // One scope. A file's functions may use any other's; its top level, only those above it.
    include_str!("live/theme.js"),
    include_str!("live/addresses.js"),
    include_str!("live/keys.js"),
    include_str!("live/text.js"),
    include_str!("live/items.js"),
    include_str!("live/properties.js"),
    include_str!("live/words.js"),
    include_str!("live/differences.js"),
    include_str!("live/address.js"),
    include_str!("live/qr.js"),
    include_str!("live/listing.js"),
    include_str!("live/shapes.js"),
    include_str!("live/tracer.js"),
    include_str!("live/labels.js"),
    include_str!("live/dom.js"),
    include_str!("live/people.js"),
    include_str!("live/server.js"),
    include_str!("live/overview.js"),
    include_str!("live/joining.js"),
    include_str!("live/cards.js"),
    include_str!("live/thumbnails.js"),
    include_str!("live/scene.js"),
    include_str!("live/drawing.js"),
    include_str!("live/outlines.js"),
    include_str!("live/beams.js"),
    include_str!("live/pan_zoom.js"),
    include_str!("live/first_state.js"),
    include_str!("live/session.js"),
    include_str!("live/pictures.js"),
    include_str!("live/side_panel.js"),
    include_str!("live/chosen.js"),
    include_str!("live/following.js"),
    include_str!("live/refresh.js"),
    include_str!("live/timeline.js"),
    include_str!("live/manage.js"),
    include_str!("live/linking.js"),
    include_str!("live/main.js"),
    "</script>\n</body>\n</html>\n",
);
/// How many bytes of the page's hash make its tag.
const TAG_BYTES: usize = 16;

/// A page that is one file. It is made once, at the start.
#[derive(Debug, Clone)]
pub struct Page {
    html: &'static str,
    /// The value of `ETag`, quotes included.
    tag: String,
    /// Whole header lines.
    headers: [String; 2],
}

impl Default for Page {
    /// The live page. It is hashed once, however many routers there are.
    fn default() -> Self {
        static PAGE: LazyLock<Page> = LazyLock::new(|| Page::new(LIVE));
        PAGE.clone()
    }
}

impl Page {
    /// A page with at most one `<script>` and one `<style>`, neither with attributes. A browser
    /// doesn't run any further one.
    pub fn new(html: &'static str) -> Self {
        let policy = format!(
            "Content-Security-Policy: default-src 'none'; script-src {}; style-src {}; \
             connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
            source(html, "script"),
            source(html, "style"),
        );
        Page {
            html,
            tag: format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(html)[..TAG_BYTES])),
            headers: [policy, "Referrer-Policy: no-referrer".into()],
        }
    }

    pub fn answer(&self) -> Response {
        let page = Response::page("text/html; charset=utf-8", self.html);
        let page = self.headers.iter().cloned().fold(page, Response::with);
        page.tagged(&self.tag)
    }
}

/// The source by which a policy allows an element of this name: the SHA-256 of its text.
fn source(html: &str, element: &str) -> String {
    match text_of(html, element) {
        // A browser hashes the text with LF line ends, whatever the file on disk has.
        Some(text) => {
            let text = text.replace("\r\n", "\n");
            format!("'sha256-{}'", BASE64.encode(&Sha256::digest(text)))
        }
        None => "'none'".into(),
    }
}

/// The exact text of the first element of this name.
fn text_of<'a>(html: &'a str, element: &str) -> Option<&'a str> {
    let (_, rest) = html.split_once(&format!("<{element}>"))?;
    Some(rest.split_once(&format!("</{element}>"))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Preferences, parse_head};

    fn shown(page: &Page, headers: &str) -> String {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let head = parse_head(head.as_bytes()).expect("a request").expect("a whole one");
        let answer = page.answer().for_client(&Preferences::from_request(&head.request, false));
        let text = String::from_utf8(answer.parts("GET").concat()).expect("UTF-8");
        // Without the Date header, which changes.
        let (status, rest) = text.split_once("\r\nDate: ").expect("a date");
        format!("{status}{}", &rest[29..])
    }

    /// The expected hashes come from `printf 'a<b' | openssl dgst -sha256 -binary | base64`, and
    /// the same for ` x `.
    #[test]
    fn a_browser_may_run_these_two_and_nothing_else() {
        let page = Page::new("<style> x </style><script>a<b</script><script>evil</script>");
        let shown = shown(&page, "");
        assert!(shown.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"));
        let policy = "Content-Security-Policy: default-src 'none'; \
            script-src 'sha256-SoJqrPWAdXxRg7jwZ37lj0qYOp/6UL5JlO2fdBNz0l8='; \
            style-src 'sha256-/Bker9nFC+9O7SRNJJUp3pmA/6JARgfA+Y6sRMjadyg='; \
            connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
            frame-ancestors 'none'\r\n";
        assert!(shown.contains(policy), "{shown}");
        assert!(shown.contains("\r\nReferrer-Policy: no-referrer\r\n"));
        assert!(shown.contains("\r\nCache-Control: no-cache\r\n"));
        assert!(
            format!("{:?}", Page::new("nothing")).contains("script-src 'none'; style-src 'none'")
        );
    }

    #[test]
    fn a_client_that_has_the_page_gets_304() {
        let page = Page::new("<p>a page");
        let tag = &page.tag;
        for had in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            format!("\"x\"\r\nIf-None-Match: {tag}"),
            "*".into(),
        ] {
            let shown = shown(&page, &format!("If-None-Match: {had}\r\n"));
            assert!(shown.starts_with("HTTP/1.1 304 Not Modified\r\n"), "{had}: {shown}");
            assert!(shown.contains(&format!("ETag: {tag}\r\n")) && shown.ends_with("\r\n\r\n"));
            assert!(shown.contains("Content-Security-Policy") && !shown.contains("Content-Length"));
        }
        for other in ["", "\"x\"", &tag[1..], &tag.to_uppercase(), "W/"] {
            let shown = shown(&page, &format!("If-None-Match: {other}\r\n"));
            assert!(shown.starts_with("HTTP/1.1 200 OK\r\n"), "{other}");
        }
        assert_ne!(*tag, Page::new("<p>another page").tag);
    }

    /// The script is one scope: of two functions with one name the later one would be called by both.
    #[test]
    fn no_two_functions_of_the_script_have_one_name() {
        let script = text_of(LIVE, "script").unwrap_or_default();
        let mut names: Vec<&str> = script
            .lines()
            .filter_map(|line| {
                let (name, _) =
                    line.trim_start_matches("async ").strip_prefix("function ")?.split_once('(')?;
                Some(name)
            })
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert!(count > 100 && names.len() == count, "{} of {count}", names.len());
    }

    #[test]
    fn the_live_page_has_one_style_and_one_script_and_nothing_that_a_policy_forbids() {
        for element in ["script", "style"] {
            assert_eq!(LIVE.matches(&format!("<{element}")).count(), 1, "{element}");
            assert!(text_of(LIVE, element).is_some_and(|text| !text.is_empty()), "{element}");
        }
        for forbidden in [" style=", " onclick=", " onload=", "<base", "javascript:"] {
            assert!(!LIVE.contains(forbidden), "{forbidden}");
        }
        // Its icon is part of the page.
        let links = LIVE.split("<link").skip(1);
        links
            .for_each(|link| assert!(link.starts_with(" rel=\"icon\" href=\"data:"), "{link:.50}"));
        assert!(LIVE.len() < 250_000, "{} bytes", LIVE.len());
    }
}
