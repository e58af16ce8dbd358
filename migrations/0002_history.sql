-- What: the projection `history`: transactions as they were answered, and what became of them per day. And for all
--       projections: accounts about which they cannot be asked.
-- Kind: expand. Everything here is new.
-- Back: DROP TABLE projections_shape.transaction_history, projections_shape.daily_totals, projections.unverified; ALTER TABLE
--       projections.generation DROP COLUMN mismatched_rows; and every schema `history_<number>`. Nothing is lost by it: projections are made from the journal.

-- An outcome that the database does not take is left out, and the accounts that it names are noted here: what is known of
-- them is not whole. An empty id stands for an outcome that names none.
CREATE TABLE projections.unverified (
    projection     text        NOT NULL,
    generation     integer     NOT NULL,
    shard          integer     NOT NULL,
    account_id     text COLLATE "C" NOT NULL,
    -- The first outcome that was left out.
    journal_offset bigint      NOT NULL,
    reason         text        NOT NULL,
    noted_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, generation, shard, account_id),
    FOREIGN KEY (projection, generation) REFERENCES projections.generation ON DELETE CASCADE
);

-- Rows that the last verification of this build found wrong.
ALTER TABLE projections.generation ADD COLUMN mismatched_rows bigint NOT NULL DEFAULT 0 CHECK (mismatched_rows >= 0);

-- One row per request, on the shard that decides.
CREATE TABLE projections_shape.transaction_history (
    shard                  integer NOT NULL,
    -- Counted from 0 on each shard, in the order of the requests.
    number                 bigint  NOT NULL CHECK (number >= 0),
    transaction_id         uuid    NOT NULL,
    -- A zero byte is written \0 and a backslash \\: a refund may name anything as what it refers to.
    tenant                 text COLLATE "C" NOT NULL,
    deciding_account       text COLLATE "C" NOT NULL,
    idempotency_key        text COLLATE "C" NOT NULL,
    type                   text    NOT NULL,
    -- Empty, like the currency, for a refund of what nobody knows.
    source_account_id      text COLLATE "C" NOT NULL,
    destination_account_id text COLLATE "C" NOT NULL,
    -- 0 for a refund of everything that is left, until that is known.
    amount                 numeric NOT NULL CHECK (amount <> 'NaN' AND scale(amount) <= 8 AND amount >= 0 AND amount < 1e20),
    currency               text    NOT NULL CHECK (currency ~ '^([A-Z]{3,10})?$'),
    status                 text    NOT NULL CHECK (status IN ('processing', 'completed', 'failed')),
    created_at             timestamptz NOT NULL,
    completed_at           timestamptz CHECK ((completed_at IS NULL) = (status = 'processing')),
    -- It failed and is as if it had never been asked for; or its key stands for something else now.
    hidden                 boolean NOT NULL,
    -- The number of the refused request that it took the key from.
    instead_of             bigint  CHECK (instead_of < number),
    -- What clients are shown: a JSON object as in CONTRACT.
    shown                  text    NOT NULL,
    PRIMARY KEY (shard, number)
);
CREATE UNIQUE INDEX transaction_history_id ON projections_shape.transaction_history (transaction_id) WHERE NOT hidden;
CREATE UNIQUE INDEX transaction_history_key ON projections_shape.transaction_history (tenant, deciding_account, idempotency_key)
    WHERE NOT hidden;
CREATE INDEX transaction_history_source ON projections_shape.transaction_history (source_account_id, shard, number);
CREATE INDEX transaction_history_destination ON projections_shape.transaction_history (destination_account_id, shard, number);
CREATE INDEX transaction_history_created ON projections_shape.transaction_history (shard, created_at, number);
-- Nearly all are completed: the others are what somebody looks for.
CREATE INDEX transaction_history_status ON projections_shape.transaction_history (status, shard, number)
    WHERE status <> 'completed' AND NOT hidden;

-- What became final on a day (UTC), as each shard counts it.
CREATE TABLE projections_shape.daily_totals (
    currency text    NOT NULL CHECK (currency ~ '^[A-Z]{3,10}$'),
    day      date    NOT NULL,
    type     text    NOT NULL,
    status   text    NOT NULL CHECK (status IN ('completed', 'failed')),
    shard    integer NOT NULL,
    count    bigint  NOT NULL CHECK (count >= 0),
    sum      numeric NOT NULL CHECK (sum <> 'NaN' AND scale(sum) <= 8 AND sum >= 0),
    PRIMARY KEY (currency, day, type, status, shard)
);
