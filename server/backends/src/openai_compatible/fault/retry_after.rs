//! When a server says that it may be asked again.

use std::time::Duration;

use http::header::{DATE, HeaderMap, RETRY_AFTER};

/// Reads `Retry-After`, in seconds or as a date, and `retry-after-ms`, which OpenAI sends beside it.
///
/// A date is compared with the `Date` of the same answer, so that clocks that differ do no harm.
pub(in crate::openai_compatible) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(millis) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(millis / 1000.0).ok();
    }
    let told = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = told.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = httpdate::parse_http_date(told).ok()?;
    let now = httpdate::parse_http_date(text(DATE.as_str())?).ok()?;
    Some(until.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Option<Duration> {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        retry_after(&headers.collect())
    }

    #[test]
    fn seconds_milliseconds_and_dates_are_read() {
        assert_eq!(read(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(
            read(&[("retry-after", "7"), ("retry-after-ms", "250")]),
            Some(Duration::from_millis(250))
        );
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let until = |told| read(&[date, ("retry-after", told)]);
        assert_eq!(until("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(until("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO), "it has passed");
        for told in ["soon", "-1", "NaN", "1e99"] {
            assert_eq!(until(told), None, "{told}");
        }
        assert_eq!(
            read(&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")]),
            None,
            "without a date of its own"
        );
    }
}
