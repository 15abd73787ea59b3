//! Ends an answer in mid-stream when the server cannot wait for it any longer.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::Stream;
use spillway_router::{BackendError, BackendId, TokenStream};
use spillway_types::GenerateEvent;
use tokio_util::sync::WaitForCancellationFutureOwned;

/// A backend's events until the server cuts them off; then one error, and the backend is let go.
struct CutOff {
    stream: Option<TokenStream>,
    signal: Pin<Box<WaitForCancellationFutureOwned>>,
    backend: BackendId,
}

/// Gives the events of `stream` until `cut_off` comes to its end, then [`BackendError::ShuttingDown`].
pub(crate) fn until(
    stream: TokenStream,
    cut_off: WaitForCancellationFutureOwned,
    backend: BackendId,
) -> TokenStream {
    Box::pin(CutOff { stream: Some(stream), signal: Box::pin(cut_off), backend })
}

impl Stream for CutOff {
    type Item = Result<GenerateEvent, BackendError>;

    fn poll_next(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(None) };
        // First, since the backend is stopped right after the cut-off: its error would look like a failure.
        if this.signal.as_mut().poll(ctx).is_pending() {
            return stream.as_mut().poll_next(ctx);
        }
        this.stream = None;
        Poll::Ready(Some(Err(BackendError::ShuttingDown { backend: this.backend.clone() })))
    }
}
