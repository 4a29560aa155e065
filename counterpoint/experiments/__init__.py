"""Many runs for one question: a study's cells, what starts them, what they found, and the advice that follows."""
