//! README files: Markdown from strangers, turned into HTML that can do nothing.

use std::borrow::Cow;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// Renders Markdown. Pictures become their text, raw HTML is cleaned, headings start below the page's own.
pub fn render(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut rendered = String::new();
    html::push_html(&mut rendered, Parser::new_ext(markdown, options).filter_map(tame));
    clean(&rendered)
}

fn tame(event: Event<'_>) -> Option<Event<'_>> {
    Some(match event {
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => return None,
        Event::Start(Tag::Heading { level, .. }) => Event::Start(Tag::Heading {
            level: below(level),
            id: None,
            classes: Vec::new(),
            attrs: Vec::new(),
        }),
        Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(below(level))),
        event => event,
    })
}

const fn below(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H2,
        HeadingLevel::H2 => HeadingLevel::H3,
        HeadingLevel::H3 => HeadingLevel::H4,
        HeadingLevel::H4 => HeadingLevel::H5,
        HeadingLevel::H5 | HeadingLevel::H6 => HeadingLevel::H6,
    }
}

fn clean(html: &str) -> String {
    ammonia::Builder::default()
        .rm_tags(["img", "map", "area", "h1"])
        .url_schemes(["https", "http", "mailto"].into())
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(Some("nofollow ugc noopener noreferrer"))
        .rm_tag_attributes("td", ["width", "height", "bgcolor"])
        .attribute_filter(|element, attribute, value| {
            // pulldown-cmark aligns cells by style, which the pages' policy forbids anyway
            (element == "a" || attribute != "style").then_some(Cow::Borrowed(value))
        })
        .clean(html)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_is_rendered_below_the_pages_own_heading() {
        let html = render(
            "# exec\n\nA *tool*, see [it](https://a.example/).\n\n```sh\nskep run\n```\n\n|a|b|\n|-|-:|\n|1|2|\n",
        );
        insta::assert_snapshot!(html, @r#"
        <h2>exec</h2>
        <p>A <em>tool</em>, see <a href="https://a.example/" rel="nofollow ugc noopener noreferrer">it</a>.</p>
        <pre><code>skep run
        </code></pre>
        <table><thead><tr><th>a</th><th>b</th></tr></thead><tbody>
        <tr><td>1</td><td>2</td></tr>
        </tbody></table>
        "#);
    }

    #[test]
    fn nothing_in_a_readme_acts() {
        let hostile = [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "![x](https://tracker.example/x.png)",
            "[x](javascript:alert(1))",
            "<a href=\"data:text/html,<script>\">x</a>",
            "<iframe src=https://a.example></iframe>",
            "<form action=https://a.example><input name=token><button>go</button></form>",
            "<style>body{display:none}</style>",
            "<p style=\"position:fixed\" class=\"bar\" id=\"main\" onclick=\"x()\">x</p>",
            "<svg onload=alert(1)><a xlink:href=\"javascript:1\">x</a></svg>",
            "</section></main><h1>Taken over</h1>",
            "<meta http-equiv=refresh content=0;url=https://a.example>",
            "<base href=https://a.example>",
            "<link rel=stylesheet href=https://a.example/x.css>",
        ];
        for markdown in hostile {
            let html = render(markdown).to_lowercase();
            for trace in [
                "<script",
                "<img",
                "<iframe",
                "<form",
                "<input",
                "<style",
                "<svg",
                "<meta",
                "<base",
                "<link",
                "<h1",
                "javascript:",
                "data:",
                "style=",
                "class=",
                "id=",
                "onclick",
                "onerror",
                "onload",
                "</section",
                "</main",
                "tracker.example",
            ] {
                assert!(!html.contains(trace), "{markdown} gives {html}");
            }
        }
    }
}
