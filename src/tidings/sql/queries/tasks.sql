-- name: claim
-- Whose lease has not run out is left alone: somebody is at it. The fence tells later who claimed last.
-- $3: those that were claimed so often before are left alone, too; null: none are.
UPDATE tasks SET fence = fence + 1,
    lease_until = now() + make_interval(secs => $2), publish_at = now() + make_interval(secs => $2)
WHERE id = ANY($1::bigint[]) AND due_at <= now() AND (lease_until IS NULL OR lease_until < now())
    AND ($3::integer IS NULL OR fence < $3)
RETURNING id, project_id, kind, lane, subject_ids, fence, lease_until

-- name: claimed_often
-- Those of $1 that could be claimed now, and were claimed $2 times or more without an end.
SELECT id FROM tasks
WHERE id = ANY($1::bigint[]) AND due_at <= now() AND (lease_until IS NULL OR lease_until < now())
    AND fence >= $2
ORDER BY id

-- name: hold
-- The ones that are still ours, locked so that nobody claims them before the record is committed.
SELECT t.id FROM tasks t JOIN unnest($1::bigint[], $2::integer[]) AS v(id, fence) ON t.id = v.id AND t.fence = v.fence
WHERE t.id = ANY($1::bigint[])  -- so that no plan reads the whole index
ORDER BY t.id FOR UPDATE OF t

-- name: finish
DELETE FROM tasks t USING unnest($1::bigint[], $2::integer[]) AS v(id, fence)
WHERE t.id = v.id AND t.fence = v.fence AND t.id = ANY($1::bigint[])

-- name: give_back
-- A part is recorded, and the rest is for the next worker, at once. The fence stays: the next claim knows by it that there
-- was one before, and nothing that this one may still want to record counts then.
UPDATE tasks t SET lease_until = NULL, publish_at = now()
FROM unnest($1::bigint[], $2::integer[]) AS v(id, fence)
WHERE t.id = v.id AND t.fence = v.fence AND t.id = ANY($1::bigint[])

-- name: create
INSERT INTO tasks (project_id, kind, lane, subject_ids, due_at, publish_at)
VALUES ($1, $2, $3, $4, $5, $5)

-- name: create_broadcast
INSERT INTO tasks (project_id, kind, lane, subject_ids, due_at, publish_at)
VALUES ($1, 'broadcast', 'normal', ARRAY[$2::bigint], now(), now() + make_interval(secs => $3))
RETURNING id

-- name: due
-- What waits for the scheduler: due, and neither in the queue since a short while nor under a lease.
SELECT id, project_id, kind, lane, cardinality(subject_ids) AS size, fence
FROM tasks
WHERE publish_at <= now() AND (lease_until IS NULL OR lease_until < now())
ORDER BY publish_at LIMIT $1
FOR UPDATE SKIP LOCKED

-- name: merge
-- Small due tasks of one kind, lane and project become one: the first takes the subjects of the others.
WITH gone AS (
    DELETE FROM tasks WHERE id = ANY($2::bigint[]) RETURNING subject_ids
)
UPDATE tasks SET subject_ids = subject_ids || (
    SELECT array_agg(s.id) FROM gone, unnest(gone.subject_ids) AS s(id)
)
WHERE id = $1
RETURNING cardinality(subject_ids)

-- name: published
-- Each time it is left alone twice as long, up to eight times $2: what waits in a long queue is not lost, and publishing
-- it again and again would only make the queue longer.
UPDATE tasks SET publishes = least(publishes + 1, 100),
    publish_at = now() + make_interval(secs => $2 * least(power(2, publishes), 8))
WHERE id = ANY($1::bigint[])

-- name: next_due
SELECT extract(epoch FROM min(publish_at) - now())::float8 FROM tasks

-- name: waiting
-- Due by now, counted up to $1. Uses due_at's index.
SELECT count(*) FROM (SELECT FROM tasks WHERE due_at <= now() LIMIT $1) AS due

-- name: release
-- Nothing came of it and nothing was recorded: let it be claimed again at $3, and do not count this claim.
UPDATE tasks SET fence = fence - 1, lease_until = NULL, publish_at = $3 WHERE id = $1 AND fence = $2
