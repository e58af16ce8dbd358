-- What: amounts that are set aside and the sums of days have an upper bound too, so neither can be Infinity.
-- Kind: expand. An older program that runs goes on as before; one that is started is refused, as after every migration. It
--       holds for builds that begin from now on: `crossfade projection rebuild --all` brings it to what is live.
-- Back: ALTER TABLE … DROP CONSTRAINT of the three, and DELETE FROM migrations_of_crossfade WHERE version = 3.

ALTER TABLE projections_shape.account_balance ADD CONSTRAINT account_balance_reserved_finite CHECK (reserved < 1e20);
ALTER TABLE projections_shape.balance_history ADD CONSTRAINT balance_history_reserved_finite CHECK (reserved < 1e20);
ALTER TABLE projections_shape.daily_totals ADD CONSTRAINT daily_totals_sum_finite CHECK (sum < 1e30);
