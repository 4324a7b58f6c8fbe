"""The fine clock: one clock of many steps for every budget, learned by actor and critic of (t, psi[, x]).

networks     the small networks and the densities they start from
actor        the Gaussian policy and the forms of its mean
critic       J and the moment conditions it is fitted by
learner      Algorithm 1: one update
training     the whole run: a job for `run.run`, evaluation, report
mean_policy  the policy without noise, and its speeds as levels
result       what a run leaves behind; distillation to any K
exact        the time-only problem's exact solution, Theorem 1 as numbers
"""
