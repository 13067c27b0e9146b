"""Is this softmax or cross entropy numerically right?"""
