"""Projects, servers and environments: their forms and pages."""
