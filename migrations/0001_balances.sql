-- What: the projection `balance`, and what all projections share.
-- Kind: expand. Everything here is new.
-- Back: DROP SCHEMA projections CASCADE; DROP SCHEMA projections_shape CASCADE; and every schema `balance_<number>`. Nothing
--       is lost by it: projections are made from the journal.
--
-- A projection is built in generations. Each has a schema of its own, `<projection>_<number>`, whose tables are made
-- after those in `projections_shape`; the views in `projections` show the one that is live. What is asked, and what others
-- may build on, are these views.

CREATE SCHEMA projections;
CREATE SCHEMA projections_shape;

CREATE TABLE projections.generation (
    projection text        NOT NULL CHECK (projection ~ '^[a-z]+$'),
    number     integer     NOT NULL CHECK (number > 0),
    live       boolean     NOT NULL DEFAULT false,
    -- What it is made from: the ledger's id, and how many shards it has.
    ledger     text        NOT NULL,
    shards     integer     NOT NULL CHECK (shards > 0),
    begun_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, number)
);
CREATE UNIQUE INDEX generation_live ON projections.generation (projection) WHERE live;

-- How far each shard's journal is in a generation. Written in the transaction that brings it there.
CREATE TABLE projections.checkpoint (
    projection   text        NOT NULL,
    generation   integer     NOT NULL,
    shard        integer     NOT NULL CHECK (shard >= 0),
    -- The offset of the next record of the journal.
    journal_next bigint      NOT NULL CHECK (journal_next >= 0),
    -- What a reader needs beside it to go on from there.
    note         text        NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, generation, shard),
    FOREIGN KEY (projection, generation) REFERENCES projections.generation ON DELETE CASCADE
);

-- One row per account; of an account that has a stripe on every shard, one per stripe.
CREATE TABLE projections_shape.account_balance (
    account_id text COLLATE "C" NOT NULL,
    shard      integer     NOT NULL,
    balance    numeric     NOT NULL CHECK (balance <> 'NaN' AND scale(balance) <= 8 AND abs(balance) < 1e20),
    reserved   numeric     NOT NULL CHECK (reserved <> 'NaN' AND scale(reserved) <= 8 AND reserved >= 0),
    currency   text        NOT NULL CHECK (currency ~ '^[A-Z]{3,10}$'),
    version    bigint      NOT NULL CHECK (version > 0),
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, shard)
);
CREATE INDEX account_balance_updated ON projections_shape.account_balance (updated_at);
CREATE INDEX account_balance_currency ON projections_shape.account_balance (currency);

-- How an account, or a stripe, stood after each outcome that touched it.
CREATE TABLE projections_shape.balance_history (
    account_id text COLLATE "C" NOT NULL,
    shard      integer     NOT NULL,
    version    bigint      NOT NULL CHECK (version > 0),
    balance    numeric     NOT NULL CHECK (balance <> 'NaN' AND scale(balance) <= 8 AND abs(balance) < 1e20),
    reserved   numeric     NOT NULL CHECK (reserved <> 'NaN' AND scale(reserved) <= 8 AND reserved >= 0),
    valid_from timestamptz NOT NULL,
    PRIMARY KEY (account_id, shard, version)
);
CREATE INDEX balance_history_temporal ON projections_shape.balance_history (account_id, shard, valid_from, version);
