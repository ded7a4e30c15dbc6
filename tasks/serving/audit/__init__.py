"""Who asked what and what was answered: append-only, chained record by record, without personal data.

`log` is the writing end, `chain` what holds records together, `record` how one becomes a line, `day_file` the disk.
"""

from tasks.serving.audit.chain import verify
from tasks.serving.audit.log import AuditLog

__all__ = ["AuditLog", "verify"]
