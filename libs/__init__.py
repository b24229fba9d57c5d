"""What two or more services share. What only one service needs lives in that service."""
