//! Markdown to HTML that is safe by construction: raw HTML is shown as text, links and images keep
//! only `http`, `https`, `mailto` and relative targets (DESIGN 9).

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html};

/// The HTML of `content`, which is Markdown or plain text.
///
/// ```
/// # use dormouse_domain::markdown::to_html;
/// assert_eq!(to_html("Paid by **card**"), "<p>Paid by <strong>card</strong></p>\n");
/// assert_eq!(to_html("<script>"), "&lt;script&gt;");
/// ```
#[must_use]
pub fn to_html(content: &str) -> String {
    let events = Parser::new_ext(content, Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TABLES);
    let mut depth_of_unsafe: usize = 0;
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is not named here holds no HTML and no link"
    )]
    let safe = events.filter_map(|event| match event {
        Event::Html(raw) | Event::InlineHtml(raw) => Some(Event::Text(raw)),
        Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => None,
        Event::Start(Tag::Link { ref dest_url, .. } | Tag::Image { ref dest_url, .. })
            if depth_of_unsafe > 0 || !is_safe_link(dest_url) =>
        {
            depth_of_unsafe = depth_of_unsafe.saturating_add(1);
            None
        }
        Event::End(TagEnd::Link | TagEnd::Image) if depth_of_unsafe > 0 => {
            depth_of_unsafe = depth_of_unsafe.saturating_sub(1);
            None
        }
        other => Some(other),
    });
    let mut out = String::with_capacity(content.len().saturating_mul(2));
    html::push_html(&mut out, safe);
    out
}

/// Whether a link may be followed: `http:`, `https:`, `mailto:` or relative.
///
/// Browsers drop control characters and spaces before they read a scheme, so a target with any of
/// those is not safe.
#[must_use]
pub fn is_safe_link(target: &str) -> bool {
    if target.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return false;
    }
    let head = target.split(['/', '?', '#']).next().unwrap_or_default();
    match head.split_once(':') {
        None => true,
        Some((scheme, _)) => ["http", "https", "mailto"]
            .iter()
            .any(|safe| scheme.eq_ignore_ascii_case(safe)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn raw_html_never_passes() {
        for (content, html) in [
            ("plain", "<p>plain</p>\n"),
            ("a <b>c</b>", "<p>a &lt;b&gt;c&lt;/b&gt;</p>\n"),
            (
                "<img src=x onerror=alert(1)>",
                "&lt;img src=x onerror=alert(1)&gt;",
            ),
            ("[x](javascript:alert(1))", "<p>x</p>\n"),
            ("[x](JaVaScRiPt:alert(1))", "<p>x</p>\n"),
            ("![x](data:image/png;base64,AAAA)", "<p>x</p>\n"),
            ("<javascript:alert(1)>", "<p>javascript:alert(1)</p>\n"),
            ("[x](/orders/1)", "<p><a href=\"/orders/1\">x</a></p>\n"),
            (
                "[x](https://e.example/?a=1&b=2)",
                "<p><a href=\"https://e.example/?a=1&amp;b=2\">x</a></p>\n",
            ),
            (
                "[![i](javascript:1)](https://e.example)",
                "<p><a href=\"https://e.example\">i</a></p>\n",
            ),
        ] {
            assert_eq!(to_html(content), html, "{content}");
        }
    }

    #[test]
    fn links_are_safe_by_scheme() {
        for safe in [
            "/orders/1",
            "orders",
            "?a:b",
            "#a:b",
            "https://e.example",
            "MAILTO:a@b.example",
            "//e.example",
            "",
        ] {
            assert!(is_safe_link(safe), "{safe}");
        }
        for unsafe_target in [
            "javascript:1",
            "java\tscript:1",
            " javascript:1",
            "data:x",
            "vbscript:x",
            "\u{1}javascript:1",
        ] {
            assert!(!is_safe_link(unsafe_target), "{unsafe_target:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_no_script_and_no_panic(content in "(?s).{0,200}|[<>\\[\\]()!`*_a-z:\"'&/ \n]{0,200}") {
            let html = to_html(&content);
            prop_assert!(!html.contains("<script"));
            prop_assert!(!html.to_lowercase().contains("=\"javascript:"));
        }
    }
}
