-- Spans of OpenTelemetry in other processes, to which the span of an attempt is linked. `trace_context` is a JSON object
-- with the W3C `traceparent` of the span that sent the task or started the run, and optionally its `tracestate` and
-- `baggage`; `attempt` is the `traceparent` of the latest attempt, and `links` has those of the nodes that the task
-- depends on. Null: the sender makes no spans.
alter table horsies.tasks add column trace_context jsonb;
alter table horsies.history add column trace_context jsonb;
alter table horsies.workflows add column trace_context jsonb;

-- The `traceparent` of the latest attempt at the task of the node. Null: it has made no span.
alter table horsies.workflow_nodes add column trace_parent text;
