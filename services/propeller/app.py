"""Wires a propeller: opens its ports, serves sessions, leads when it is its turn, stops in order."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from functools import partial

from libs import blob
from libs.blob import BlobStore
from libs.clients.queue import Publisher, WorkFeed
from libs.election import Access, Election
from libs.rpc import server
from libs.runtime.process import Life
from libs.store.ledger import Ledger
from protos import propeller_pb2_grpc
from services.propeller.api import SERVICE, PropellerApi
from services.propeller.leadership import Leadership
from services.propeller.settings import PropellerSettings
from services.propeller.spans import Spans
from services.propeller.store import LeaderStore
from services.propeller.term import Term
