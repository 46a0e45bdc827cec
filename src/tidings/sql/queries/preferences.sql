-- name: load
-- What these users of a project allow, as one JSON text each; null for a user with neither rules nor quiet hours.
-- The inner SELECT is the part that loading notifications repeats: for each user two probes of a primary key.
SELECT u.id, (
    SELECT json_build_object('rules', coalesce(r.rules, '{}'), 'quiet', q.quiet)::text
    FROM (
        SELECT json_object_agg(p.category || '/' || p.channel, p.enabled) AS rules
        FROM user_preferences p WHERE p.user_id = u.id
    ) AS r
    LEFT JOIN (
        SELECT json_build_object('from', to_char(h.begins, 'HH24:MI'), 'until', to_char(h.ends, 'HH24:MI'),
            'timezone', h.timezone, 'action', h.action) AS quiet
        FROM quiet_hours h WHERE h.user_id = u.id
    ) AS q ON true
    WHERE r.rules IS NOT NULL OR q.quiet IS NOT NULL
) AS preferences
FROM users u WHERE u.project_id = $1 AND u.id = ANY($2::bigint[])

-- name: lock
-- One change of a user's preferences at a time: what is counted and compared then stays so.
SELECT id FROM users WHERE project_id = $1 AND id = $2 FOR NO KEY UPDATE

-- name: forget_rules
DELETE FROM user_preferences p USING unnest($2::text[], $3::text[]) AS v(category, channel)
WHERE p.user_id = $1 AND p.category = v.category AND p.channel = v.channel

-- name: set_rules
INSERT INTO user_preferences (project_id, user_id, category, channel, enabled)
SELECT $1, $2, v.category, v.channel, v.enabled
FROM unnest($3::text[], $4::text[], $5::boolean[]) AS v(category, channel, enabled)
ON CONFLICT (user_id, category, channel) DO UPDATE SET enabled = excluded.enabled, updated_at = now()

-- name: forget_quiet_hours
DELETE FROM quiet_hours WHERE user_id = $1

-- name: set_quiet_hours
INSERT INTO quiet_hours (project_id, user_id, begins, ends, timezone, action)
VALUES ($1, $2, $3::text::time, $4::text::time, $5, $6)
ON CONFLICT (user_id) DO UPDATE SET begins = excluded.begins, ends = excluded.ends, timezone = excluded.timezone,
    action = excluded.action, updated_at = now()
