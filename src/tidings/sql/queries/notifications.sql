-- name: accept
-- Stores notifications and, in the same statement and so in one commit, one task for each lane and due time,
-- of at most $15 notifications, $17 in the bulk lane. Items whose user does not exist in the project are left out; so are items
-- whose idempotency key was used before. One row: now, then the ordinals and ids of what was stored, then the
-- tasks that are due at once and how many notifications each has.
WITH input AS MATERIALIZED (
    SELECT nextval('notifications_id_seq') AS id, i.*
    FROM unnest(
        $1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::integer[], $8::text[],
        $9::text[], $10::timestamptz[], $11::text[], $12::bytea[], $13::text[], $14::text[]
    ) WITH ORDINALITY AS i(project_id, user_id, title, body, data, lane, ttl_s, collapse_key,
        overrides, scheduled_time, idempotency_key, idempotency_digest, category, routing, ordinal)
    JOIN users u ON u.id = i.user_id AND u.project_id = i.project_id
), keyed AS (
    INSERT INTO idempotency_keys (project_id, key, digest, notification_id)
    SELECT project_id, idempotency_key, idempotency_digest, id FROM input WHERE idempotency_key IS NOT NULL
    ORDER BY project_id, idempotency_key  -- two groups with the same keys wait for each other, never crosswise
    ON CONFLICT DO NOTHING
    RETURNING notification_id
), fresh AS MATERIALIZED (
    SELECT * FROM input
    WHERE idempotency_key IS NULL OR id IN (SELECT notification_id FROM keyed)
), stored AS (
    INSERT INTO notifications (id, project_id, user_id, title, body, data, status, lane, ttl_s, collapse_key,
        category, routing, overrides, scheduled_time)
    SELECT id, project_id, user_id, title, body, data::jsonb,
        CASE WHEN scheduled_time IS NULL THEN 'pending' ELSE 'scheduled' END,
        lane, ttl_s, collapse_key, category, routing, overrides::jsonb, scheduled_time
    FROM fresh
), work AS (
    INSERT INTO tasks (project_id, kind, lane, subject_ids, due_at, publish_at)
    SELECT project_id,
        CASE WHEN scheduled_time IS NULL THEN 'deliver' ELSE 'scheduled' END,
        lane,
        array_agg(id ORDER BY id),
        coalesce(scheduled_time, now()),
        coalesce(scheduled_time, now() + make_interval(secs => $16))
    FROM (
        SELECT *, (row_number() OVER (PARTITION BY project_id, lane, scheduled_time) - 1)
            / CASE lane WHEN 'bulk' THEN $17::bigint ELSE $15::bigint END AS part
        FROM fresh
    ) AS parted
    GROUP BY project_id, lane, scheduled_time, part
    RETURNING id, kind, lane, cardinality(subject_ids) AS size
)
SELECT now() AS created_at,
    (SELECT array_agg(ordinal ORDER BY ordinal) FROM fresh) AS ordinals,
    (SELECT array_agg(id ORDER BY ordinal) FROM fresh) AS ids,
    (SELECT array_agg(id ORDER BY id) FROM work WHERE kind = 'deliver') AS task_ids,
    (SELECT array_agg(lane ORDER BY id) FROM work WHERE kind = 'deliver') AS task_lanes,
    (SELECT array_agg(size ORDER BY id) FROM work WHERE kind = 'deliver') AS task_sizes

-- name: by_idempotency_keys
-- What earlier requests with these keys made.
SELECT k.project_id, k.key, k.digest, k.notification_id, n.created_at, n.scheduled_time
FROM unnest($1::bigint[], $2::text[]) AS v(project_id, key)
JOIN idempotency_keys k ON k.project_id = v.project_id AND k.key = v.key
LEFT JOIN notifications n ON n.id = k.notification_id

-- name: get
SELECT id, user_id, title, body, data, status, lane, ttl_s, collapse_key, category, routing, overrides, suppressions,
    scheduled_time, sent_at, delivered_at, read_at, created_at
FROM notifications WHERE project_id = $1 AND id = $2

-- name: of_user
-- Newest first, from before id $3.
SELECT id, user_id, title, body, data, status, lane, ttl_s, collapse_key, category, routing, overrides, suppressions,
    scheduled_time, sent_at, delivered_at, read_at, created_at
FROM notifications WHERE project_id = $1 AND user_id = $2 AND id < $3
ORDER BY id DESC LIMIT $4

-- name: cancel
UPDATE notifications SET status = 'cancelled'
WHERE project_id = $1 AND id = $2 AND status = 'scheduled'
RETURNING id

-- name: mark_read
UPDATE notifications n SET read_at = coalesce(n.read_at, now())
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS v(project_id, user_id, id)
WHERE n.id = v.id AND n.project_id = v.project_id AND n.user_id = v.user_id

-- name: begin_scheduled
-- From here on they can't be cancelled any more.
UPDATE notifications SET status = 'sending' WHERE id = ANY($1::bigint[]) AND status = 'scheduled'

-- name: load
-- All that planning needs, a row for each notification and enabled device of its user (one without, if none). Addresses
-- of the user and what blocks them only where a route was chosen: the usual one does not use them.
SELECT n.id, n.project_id, n.user_id, n.title, n.body, n.data, n.status, n.lane, n.ttl_s, n.collapse_key, n.overrides,
    n.category, n.routing, n.suppressions, n.scheduled_time, n.created_at, u.id IS NOT NULL AS user_exists, u.timezone,
    u.email, coalesce(u.number, u.phone) AS phone, u.chat_url,
    CASE WHEN n.routing IS NOT NULL THEN (
        SELECT reason FROM suppressed_addresses s
        WHERE s.project_id = n.project_id AND s.channel = 'email' AND s.address = lower(u.email)) END AS email_blocked,
    CASE WHEN n.routing IS NOT NULL THEN (
        SELECT reason FROM suppressed_addresses s
        WHERE s.project_id = n.project_id AND s.channel = 'sms' AND s.address = u.number
        ) END AS sms_blocked,
    (SELECT json_build_object('rules', coalesce(r.rules, '{}'), 'quiet', q.quiet)::text
        FROM (
            SELECT json_object_agg(p.category || '/' || p.channel, p.enabled) AS rules
            FROM user_preferences p WHERE p.user_id = u.id
        ) AS r
        LEFT JOIN (
            SELECT json_build_object('from', to_char(h.begins, 'HH24:MI'), 'until', to_char(h.ends, 'HH24:MI'),
                'timezone', h.timezone, 'action', h.action) AS quiet
            FROM quiet_hours h WHERE h.user_id = u.id
        ) AS q ON true
        WHERE r.rules IS NOT NULL OR q.quiet IS NOT NULL) AS preferences,
    d.id AS device_id, d.device_type, d.device_token
FROM unnest($1::bigint[]) AS s(id)
JOIN notifications n ON n.id = s.id
LEFT JOIN users u ON u.id = n.user_id
LEFT JOIN devices d ON d.user_id = n.user_id AND d.disabled_at IS NULL
    AND (n.routing IS NULL OR n.routing ~ 'push|all')
ORDER BY n.id, d.id

-- name: settle
-- Best outcome wins: what was delivered or sent stays so. Times keep their first value. Statuses and suppressions that
-- are alike in all rows come as one value (deliveries.ALIKE).
UPDATE notifications n SET
    status = CASE
        WHEN n.status = 'delivered' OR n.status = 'cancelled' THEN n.status
        WHEN n.status = 'sent' AND v.status <> 'delivered' THEN 'sent'
        ELSE v.status END,
    sent_at = coalesce(least(n.sent_at, v.sent_at), n.sent_at, v.sent_at),
    suppressions = CASE WHEN v.suppressions = '' THEN n.suppressions
        WHEN n.suppressions IS NULL THEN string_to_array(v.suppressions, ' ')
        ELSE ARRAY(SELECT DISTINCT unnest(n.suppressions || string_to_array(v.suppressions, ' ')) ORDER BY 1) END
FROM (
    SELECT u.id, coalesce(u.status, $2[1]) AS status, u.sent_at, coalesce(u.suppressions, $4[1]) AS suppressions
    FROM unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::text[]) AS u(id, status, sent_at, suppressions)
) AS v
WHERE n.id = v.id AND n.id = ANY($1::bigint[])  -- the second so that no plan reads the whole index

-- name: one_at_a_time
-- In ascending order, so that two never wait for each other.
SELECT pg_advisory_xact_lock(7146003, key) FROM unnest($1::integer[]) AS k(key)

-- name: derive
-- The best of its deliveries' states is a notification's. For those that several tasks work on: none of these knows all
-- of it, but the rows do.
UPDATE notifications n SET status = v.status, sent_at = coalesce(least(n.sent_at, v.sent_at), n.sent_at, v.sent_at)
FROM (
    SELECT d.notification_id, min(d.sent_at) AS sent_at,
        CASE WHEN bool_or(d.status = 'delivered') THEN 'delivered' WHEN bool_or(d.status = 'sent') THEN 'sent'
            WHEN bool_or(d.status = 'sending') THEN 'sending' WHEN bool_or(d.status = 'pending') THEN 'pending'
            WHEN bool_or(d.status = 'expired') THEN 'expired' WHEN bool_or(d.status = 'failed') THEN 'failed'
            ELSE 'suppressed' END AS status
    FROM deliveries d WHERE d.notification_id = ANY($1::bigint[]) GROUP BY d.notification_id
) AS v
WHERE n.id = v.notification_id AND n.id = ANY($1::bigint[]) AND n.status NOT IN ('delivered', 'cancelled') AND n.status <> v.status
  AND v.status <> 'delivered'

-- name: not_over
-- There are attempts to be made of which no row tells yet.
UPDATE notifications SET status = 'pending' WHERE id = ANY($1::bigint[]) AND status IN ('failed', 'suppressed', 'expired')

-- name: go_on
-- Another channel of its fallback is to be tried, or another worker does the rest.
UPDATE notifications SET status = 'pending' WHERE id = ANY($1::bigint[]) AND status NOT IN ('sent', 'delivered', 'cancelled')
