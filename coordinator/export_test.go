package coordinator

import "context"

// Understood is what the leader finds out before it raises the feature level.
func (s *Server) Understood(ctx context.Context, level int) bool { return s.understood(ctx, level) }
