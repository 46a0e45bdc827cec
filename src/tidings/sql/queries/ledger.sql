-- name: counts
SELECT status, count(*) AS notifications FROM notifications GROUP BY status ORDER BY status

-- name: lost
-- In progress, and no task that would ever move them on. There must be none. $1: of how many days; null: all.
SELECT n.id FROM notifications n
WHERE ($1::integer IS NULL OR n.id >= coalesce((SELECT min(first_id) FROM days WHERE day > current_date - $1), 0))
  AND n.status IN ('scheduled', 'pending', 'sending')
  AND NOT EXISTS (
      SELECT FROM (SELECT unnest(subject_ids) AS id FROM tasks WHERE kind <> 'broadcast') AS t WHERE t.id = n.id)
ORDER BY n.id LIMIT 100

-- name: tasks
SELECT kind, lane, count(*) AS tasks, count(*) FILTER (WHERE publish_at < now() - interval '1 minute') AS overdue
FROM tasks GROUP BY kind, lane ORDER BY kind, lane

-- name: waiting
-- Due tasks by lane.
SELECT lane, count(*) AS tasks, extract(epoch FROM now() - min(due_at))::float8 AS oldest_s,
    count(*) FILTER (WHERE publish_at < now() - interval '1 minute') AS overdue
FROM tasks WHERE due_at <= now() GROUP BY lane
