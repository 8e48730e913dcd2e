"""`fedbus doctor` checks a member's set-up step by step, and says what to do about what it finds."""
