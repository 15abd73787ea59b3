-- A row for each call of a backend: each attempt of a request that left the router.
CREATE TABLE calls (
    -- Never given twice: the newest row is never pruned.
    id INTEGER PRIMARY KEY,
    -- The request's name in logs, and which attempt at it this is, from 1.
    request TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    -- Name of the client's key, if keys have names.
    key TEXT,
    route TEXT NOT NULL,
    backend TEXT NOT NULL,
    model TEXT NOT NULL,
    privacy TEXT NOT NULL,
    -- The part of a split, if there is one.
    variant TEXT,
    -- Why the call was made: serve, hedge, shadow.
    purpose TEXT NOT NULL,
    started_at_ms INTEGER NOT NULL,
    reserved_nanos INTEGER NOT NULL,
    estimated_prompt_tokens INTEGER NOT NULL,
    max_tokens INTEGER,
    -- open: under way. settled: paid as told. refunded: nothing was paid. unsettled: nobody could tell; stays charged.
    state TEXT NOT NULL CHECK (state IN ('open', 'settled', 'refunded', 'unsettled')),
    -- answered, cancelled, broken:CODE or failed:CODE; absent where nobody could tell.
    outcome TEXT,
    prompt_tokens INTEGER,
    -- Of the prompt's tokens: read from and written to the provider's cache.
    cache_read_tokens INTEGER,
    cache_write_tokens INTEGER,
    completion_tokens INTEGER,
    -- What the call costs, as far as is known: its reservation until it is settled.
    charged_nanos INTEGER NOT NULL,
    -- What the strong model would have cost.
    strong_nanos INTEGER,
    provider_request_id TEXT,
    settled_at_ms INTEGER,
    -- From start to first content, and to the end.
    ttft_ms INTEGER,
    duration_ms INTEGER
) STRICT;

CREATE INDEX calls_by_start ON calls (started_at_ms);
-- Small at all times, so that the sum of what is reserved costs nothing to know.
CREATE INDEX calls_open ON calls (id) WHERE state = 'open';
