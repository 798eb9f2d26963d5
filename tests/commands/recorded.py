"""What claude-flow 3.43.0 really printed (recorded on Debian 12, Node 20), shortened where marked."""

SEARCH = """[INFO] Searching: "hello" (semantic)

{
  "query": "hello",
  "searchType": "semantic",
  "results": [],
  "searchTime": "1258ms"
}
"""
SPAWN = """[INFO] Spawning coder agent: c1

+--------------+------------------------------------------+
| ID           | agent-1795391313219-19rako               |
+--------------+------------------------------------------+

[OK] Agent c1 spawned successfully
{
  "success": true,
  "agentId": "agent-1795391313219-19rako",
  "agentType": "coder"
}
"""
AGENT_LIST = """{
  "agents": [
    {
      "agentId": "agent-1795391313219-19rako",
      "agentType": "coder",
      "status": "idle"
    }
  ],
  "total": 1,
  "filters": {}
}
"""
AGENT_MISSING = """{
  "agentId": "nope",
  "status": "not_found",
  "error": "Agent not found"
}
"""
AGENT_STOP_MISSING = """[INFO] Stopping agent nope...
  Completing current task...
[OK] Agent nope stopped successfully
{
  "success": false,
  "agentId": "nope",
  "error": "Agent not found"
}
"""
SESSION_DELETE_MISSING = """
[OK] Session nope deleted
{
  "sessionId": "nope",
  "deleted": false,
  "error": "Session not found"
}
"""
MCP_EXEC_MISSING = """[INFO] Executing tool: agent_status
  Parameters: {"agentId":"zz"}

[OK] Tool executed in 87.90ms
{
  "tool": "agent_status",
  "params": {
    "agentId": "zz"
  },
  "result": {
    "agentId": "zz",
    "status": "not_found",
    "error": "Agent not found"
  },
  "duration": 87.90496300000007
}
"""
STORE = """[INFO] Storing in default/k...

+------------+----------------------+
| Key        | k                    |
+------------+----------------------+

[OK] Data stored successfully
"""
STORE_NUMBER_ERROR = (
    '[ERROR] The "string" argument must be of type string or an instance of Buffer or ArrayBuffer. '
    "Received type number (7)\n"
)
RETRIEVE = """{
  "id": "entry_1795391667182_8f95pc",
  "key": "k",
  "namespace": "default",
  "content": "v",
  "accessCount": 1,
  "tags": []
}
"""
MEMORY_HELP = """
Memory Management Commands

Usage: claude-flow memory <subcommand> [options]

Subcommands:
  - init       - Initialize memory database (sql.js)
"""
DOCTOR = """
[OK] Node.js Version: v20.20.2
Summary: 12 passed, 16 warnings, 1 failed
Some checks failed. Please address the issues above.
"""
