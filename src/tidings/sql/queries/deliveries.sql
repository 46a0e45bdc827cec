-- name: record
-- Attempts, and what they make of their deliveries: a new one, or the next state of one. A delivery that was
-- confirmed stays delivered, and one that was sent stays sent. Number 0: no call was made. In one statement, because the two share most columns.
WITH v AS MATERIALIZED (
    -- A column that is alike in all rows comes as one value (deliveries.ALIKE).
    SELECT u.notification_id, coalesce(u.channel, $2[1]) AS channel, u.device_id,
        coalesce(u.project_id, $4[1]) AS project_id, coalesce(u.status, $5[1]) AS status, u.reason, u.detail,
        coalesce(u.provider, $8[1]) AS provider, coalesce(u.emulated, $9[1]) AS emulated, u.provider_message_id,
        coalesce(u.attempts, $11[1]) AS attempts, u.next_attempt_at, u.sent_at, coalesce(u.number, $14[1]) AS number,
        coalesce(u.outcome, $15[1]) AS outcome, u.duration_ms
    FROM unnest(
        $1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::boolean[], $10::text[], $11::smallint[], $12::timestamptz[], $13::timestamptz[],
        $14::smallint[], $15::text[], $16::integer[])
        AS u(notification_id, channel, device_id, project_id, status, reason, detail, provider, emulated,
            provider_message_id, attempts, next_attempt_at, sent_at, number, outcome, duration_ms)
), calls AS (
    INSERT INTO attempts (notification_id, channel, device_id, number, outcome, reason, detail, provider, duration_ms)
    SELECT notification_id, channel, device_id, number, outcome, reason, detail, provider, duration_ms
    FROM v WHERE number > 0
    ON CONFLICT DO NOTHING
)
INSERT INTO deliveries AS d (notification_id, channel, device_id, project_id, status, reason, detail, provider,
    emulated, provider_message_id, attempts, next_attempt_at, sent_at)
SELECT notification_id, channel, device_id, project_id, status, reason, detail, provider, emulated,
    provider_message_id, attempts, next_attempt_at, sent_at
FROM v
ON CONFLICT (notification_id, channel, device_id) DO UPDATE SET
    status = CASE WHEN d.status IN ('sent', 'delivered') THEN d.status ELSE excluded.status END,
    reason = CASE WHEN d.status IN ('sent', 'delivered') THEN d.reason ELSE excluded.reason END,
    detail = CASE WHEN d.status IN ('sent', 'delivered') THEN d.detail ELSE excluded.detail END,
    provider = excluded.provider,
    emulated = excluded.emulated,
    provider_message_id = coalesce(excluded.provider_message_id, d.provider_message_id),
    attempts = greatest(d.attempts, excluded.attempts),
    next_attempt_at = CASE WHEN d.status IN ('sent', 'delivered') THEN NULL ELSE excluded.next_attempt_at END,
    sent_at = coalesce(least(d.sent_at, excluded.sent_at), d.sent_at, excluded.sent_at),
    updated_at = now()

-- name: end
-- No further attempt will be made.
UPDATE deliveries d SET status = v.status, reason = v.reason, next_attempt_at = NULL, updated_at = now()
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[])
    AS v(notification_id, channel, device_id, status, reason)
WHERE d.notification_id = v.notification_id AND d.channel = v.channel AND d.device_id = v.device_id
  AND d.status IN ('pending', 'sending')

-- name: reserve
-- Takes the deliveries whose time has come, by the database's clock, until $2: other tasks of the same notifications
-- leave them alone, and whoever takes over this task finds them due again.
UPDATE deliveries SET status = 'sending', next_attempt_at = $2, updated_at = now()
WHERE notification_id = ANY($1::bigint[]) AND status IN ('pending', 'sending') AND next_attempt_at <= now()
RETURNING notification_id, channel, device_id

-- name: let_go
-- What was taken until $2 (one lease: no other ends at the same microsecond) and has no outcome is due again at once.
UPDATE deliveries SET next_attempt_at = now(), updated_at = now()
WHERE notification_id = ANY($1::bigint[]) AND status = 'sending' AND next_attempt_at = $2

-- name: existing
SELECT notification_id, channel, device_id, status, reason, attempts, attempts_allowed
FROM deliveries WHERE notification_id = ANY($1::bigint[])

-- name: of_notification
SELECT channel, device_id, status, reason, detail, provider, emulated, provider_message_id, attempts, next_attempt_at,
    sent_at, delivered_at, created_at, updated_at
FROM deliveries WHERE notification_id = $1
ORDER BY channel, device_id

-- name: attempts_of_notification
SELECT channel, device_id, number, outcome, reason, detail, provider, duration_ms, created_at
FROM attempts WHERE notification_id = $1
ORDER BY channel, device_id, number

-- name: confirm
-- A device or client says that it has the notification. It may say so before the worker has recorded that it
-- was sent: then this makes the row, and the worker's record joins it. $6: whose notification it must be, 0: any.
INSERT INTO deliveries AS d (notification_id, channel, device_id, project_id, status, provider, emulated, attempts,
    sent_at, delivered_at)
SELECT n.id, v.channel, v.device_id, n.project_id, 'delivered', v.provider, false, 0, now(), now()
FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::bigint[])
    AS v(project_id, notification_id, channel, device_id, provider, user_id)
JOIN notifications n ON n.id = v.notification_id AND n.project_id = v.project_id
    AND (v.user_id = 0 OR n.user_id = v.user_id) AND n.status NOT IN ('scheduled', 'cancelled')
ORDER BY n.id, v.channel, v.device_id
ON CONFLICT (notification_id, channel, device_id) DO UPDATE SET
    status = 'delivered',
    reason = NULL,
    next_attempt_at = NULL,
    sent_at = coalesce(d.sent_at, now()),
    delivered_at = coalesce(d.delivered_at, now()),
    updated_at = now()
RETURNING notification_id

-- name: settle_confirmed
UPDATE notifications SET
    status = 'delivered',
    sent_at = coalesce(sent_at, now()),
    delivered_at = coalesce(delivered_at, now())
WHERE id = ANY($1::bigint[]) AND status NOT IN ('delivered', 'cancelled')
