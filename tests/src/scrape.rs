//! The page of `/metrics`, as a monitoring system reads it.

/// One reading of all metrics.
#[derive(Debug, Clone)]
pub struct Scrape {
    text: String,
}

impl Scrape {
    /// Takes the page's text.
    pub fn new(text: String) -> Self {
        Self { text }
    }

    /// The sum of a metric's samples whose labels contain `label`, as in `finished_reason="abort"`; none if there is no
    /// such sample.
    pub fn value(&self, name: &str, label: &str) -> Option<f64> {
        let mut sum = None;
        for line in self.text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (series_name, labels) = series.split_once('{').unwrap_or((series, ""));
            if series_name == name && labels.contains(label) {
                *sum.get_or_insert(0.0) += value.parse::<f64>().ok()?;
            }
        }
        sum
    }

    /// The declared type of a metric, as in `counter`.
    pub fn kind(&self, name: &str) -> Option<&str> {
        let prefix = format!("# TYPE {name} ");
        self.text.lines().find_map(|line| line.strip_prefix(&prefix))
    }

    /// The whole page.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_samples_of_one_name_and_label() {
        let page = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\na_b{x=\"1\"} 10\nc 0.5\n";
        let scrape = Scrape::new(page.to_owned());
        assert_eq!(scrape.value("a", ""), Some(5.0));
        assert_eq!(scrape.value("a", "x=\"2\""), Some(3.0));
        assert_eq!(scrape.value("c", ""), Some(0.5));
        assert_eq!(scrape.value("d", ""), None);
        assert_eq!((scrape.kind("a"), scrape.kind("c")), (Some("counter"), None));
    }
}
